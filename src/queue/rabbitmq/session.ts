import type { Channel, Message } from "amqplib";
import { closeChannel, type Connection } from "./connection.ts";
import { channelFailure, lostFailure } from "./failure.ts";

/** What a subscription receives through one channel. It ends with the channel: then RabbitMQ gives its messages to others. */
export class Session {
  /** The channel. */
  readonly channel: Channel;
  readonly #connection: Connection;
  readonly #lost = new AbortController();
  /** The delivery tags of those that want an answer, which RabbitMQ counts up: the oldest is the first. */
  readonly #inHand = new Set<number>();
  /** What the next answer is for. */
  #acknowledged: Message[] = [];
  #sending: Promise<void> | undefined;
  #retired = false;

  /** @param channel Just opened. @param connection Where: a broker that hangs does not let a channel close, so its end counts too. */
  constructor(channel: Channel, connection: Connection) {
    this.channel = channel;
    this.#connection = connection;
    const { closing, ended } = connection;
    let reason = lostFailure("the connection to RabbitMQ was cut");
    // The channels are closed after it.
    const send = () => this.#sendBeforeTheEnd();
    closing.addEventListener("abort", send, { once: true });
    const lose = () => {
      closing.removeEventListener("abort", send);
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

  /** A message came in and wants an answer: to be called in the order in which they came. */
  hold({ fields }: Message): void {
    this.#inHand.add(fields.deliveryTag);
  }

  /**
   * Acknowledges, together with the others of this turn of the event loop: up to the oldest in hand one answer is enough, and RabbitMQ, measured, is done
   * with it twice as fast as with a hundred.
   *
   * @returns When it was sent.
   * @throws {QueueError} `delivery-lost`.
   */
  async acknowledge(message: Message): Promise<void> {
    this.lost.throwIfAborted();
    this.#inHand.delete(message.fields.deliveryTag);
    this.#acknowledged.push(message);
    this.#sending ??= this.#sendSoon();
    await this.#sending;
  }

  /** Back to where it was in the queue. @throws {QueueError} `delivery-lost`. */
  handBack(message: Message): void {
    this.lost.throwIfAborted();
    this.#send(() => this.channel.nack(message, false, true));
    this.#inHand.delete(message.fields.deliveryTag);
    this.#closeIfDone();
  }

  /** Nothing more will come: the channel is closed with the last answer. */
  retire(): void {
    this.#retired = true;
    this.#sendBeforeTheEnd();
    this.#closeIfDone();
  }

  /** Ends it at once. */
  end(): void {
    this.#sendBeforeTheEnd();
    closeChannel(this.channel);
    this.#lost.abort(lostFailure("its queue is gone"));
  }

  async #sendSoon(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#sending = undefined;
    this.#sendAcknowledged();
    this.#closeIfDone();
  }

  /** One answer stands for all messages up to one of them, so that none may be among these that is still in hand. The others get one each. */
  #sendAcknowledged(): void {
    if (this.#acknowledged.length === 0) return;
    this.lost.throwIfAborted();
    const [oldest = Infinity] = this.#inHand;
    let last: Message | undefined;
    for (const message of this.#acknowledged) {
      const { deliveryTag } = message.fields;
      if (deliveryTag > oldest) this.#send(() => this.channel.ack(message));
      else if (last === undefined || deliveryTag > last.fields.deliveryTag) last = message;
    }
    if (last !== undefined) {
      const upTo = last;
      this.#send(() => this.channel.ack(upTo, true));
    }
    this.#acknowledged = [];
  }

  /** Whoever waits for it is told by {@linkcode #sendSoon} if it fails. */
  #sendBeforeTheEnd(): void {
    try {
      this.#sendAcknowledged();
    } catch {
      // As above.
    }
  }

  #send(send: () => void): void {
    try {
      this.#connection.gather();
      send();
    } catch (cause) {
      throw Object.assign(lostFailure("the connection to RabbitMQ was cut"), { cause });
    }
  }

  #closeIfDone(): void {
    if (this.#retired && this.#inHand.size === 0 && this.#acknowledged.length === 0) closeChannel(this.channel);
  }
}
