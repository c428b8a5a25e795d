import type { Channel, Message } from "amqplib";
import { closeChannel, type Connection } from "./connection.ts";
import { channelFailure, lostFailure } from "./failure.ts";

/** What a subscription receives through one channel. It ends with the channel: then RabbitMQ gives its messages to others. */
export class Session {
  /** The channel. */
  readonly channel: Channel;
  readonly #connection: Connection;
  readonly #lost = new AbortController();
  #inHand = 0;
  #retired = false;

  /** @param channel Just opened. @param connection Where: a broker that hangs does not let a channel close, so its end counts too. */
  constructor(channel: Channel, connection: Connection) {
    this.channel = channel;
    this.#connection = connection;
    const { ended } = connection;
    let reason = lostFailure("the connection to RabbitMQ was cut");
    const lose = () => {
      ended.removeEventListener("abort", lose);
      this.#lost.abort(reason);
    };
    // Comes before 'close'.
    channel.on("error", (error) => reason = channelFailure(error));
    channel.on("close", lose);
    ended.addEventListener("abort", lose, { once: true });
  }

  /** Aborts when the channel is closed. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** A message came in and wants an answer. */
  hold(): void {
    this.#inHand++;
  }

  /** @throws {QueueError} `delivery-lost`. */
  acknowledge(message: Message): void {
    this.#answer(() => this.channel.ack(message));
  }

  /** Back to where it was in the queue. @throws {QueueError} `delivery-lost`. */
  handBack(message: Message): void {
    this.#answer(() => this.channel.nack(message, false, true));
  }

  /** Nothing more will come: the channel is closed with the last answer. */
  retire(): void {
    this.#retired = true;
    if (this.#inHand === 0) closeChannel(this.channel);
  }

  /** Ends it at once. */
  end(): void {
    closeChannel(this.channel);
    this.#lost.abort(lostFailure("its queue is gone"));
  }

  #answer(send: () => void): void {
    this.lost.throwIfAborted();
    try {
      this.#connection.gather();
      send();
    } catch (cause) {
      throw Object.assign(lostFailure("the connection to RabbitMQ was cut"), { cause });
    }
    this.#inHand--;
    if (this.#retired && this.#inHand === 0) closeChannel(this.channel);
  }
}
