import { Buffer } from "node:buffer";
import { delay } from "@std/async";
import type { Channel, Message } from "amqplib";
import type {
  Abortable,
  Broker,
  KeptMessage,
  OutgoingMessage,
  PublishOptions,
  QueueDepth,
  SubscribeOptions,
  Subscription,
  Verdict,
  WalkOptions,
} from "../broker.ts";
import type { Letter } from "./confirms.ts";
import { closeChannel, Connection } from "./connection.ts";
import { RabbitmqDelivery } from "./delivery.ts";
import { checkWhole, type RabbitmqOptions, settingsOf } from "./options.ts";
import { type Change, copied, deliveriesOf, readProperties, returnsOf } from "./properties.ts";
import { Publisher } from "./publisher.ts";
import { Session } from "./session.ts";
import { RabbitmqSubscription } from "./subscription.ts";
import { declareQueues, queueNames } from "./topology.ts";
import { deadLetter, keptMessage, type Walk, walkQueue } from "./walk.ts";

/** Most time that is waited for messages that were handed back, in milliseconds; it takes some. */
const BACK_MS = 1_000;
/** What a message weighs that only has to be given back. */
const NOTHING = Buffer.alloc(0);

/**
 * The queues in RabbitMQ, 3.10 or later: quorum queues, one for what is ready, one for each step of the delay (`<queue>.delay.<ms>`) and one for dead
 * letters (`<queue>.dead`). A delay is rounded up to 250 ms, 1 s, 4 s, 16 s, 64 s or 256 s, the longest.
 *
 * Of its two connections one publishes and one does the rest. They come back by themselves when they were cut, and subscriptions with them.
 *
 * @example
 * ```ts no-assert
 * import { RabbitmqBroker } from "@pixl/core/queue";
 *
 * async function countWaiting(password: string): Promise<number> {
 *   await using broker = await RabbitmqBroker.open({ host: "localhost", username: "pixl", password });
 *   await broker.declare("imaging-primary");
 *   return (await broker.depth("imaging-primary")).ready;
 * }
 * ```
 */
export class RabbitmqBroker implements Broker {
  readonly #connection: Connection;
  /** RabbitMQ reads nothing more from a connection that publishes while memory or disk is short; who takes messages must go on. */
  readonly #publishing: Connection;
  readonly #publisher: Publisher;
  readonly #subscriptions = new Set<RabbitmqSubscription>();
  #closed: Promise<void> | undefined;

  private constructor(connection: Connection, publishing: Connection) {
    this.#connection = connection;
    this.#publishing = publishing;
    this.#publisher = new Publisher(publishing);
  }

  /**
   * Connects and logs in.
   *
   * @param options Where and as whom.
   * @param abortable Ends the wait.
   * @returns The broker, to be closed.
   * @throws {QueueError} `broker-refused` if the login, the virtual host or the certificate was refused; `broker-unreachable` if nobody answers.
   * @throws {RangeError} If a number in the options cannot be used.
   */
  static async open(options: RabbitmqOptions, { signal }: Abortable = {}): Promise<RabbitmqBroker> {
    const settings = settingsOf(options);
    const abortable = signal === undefined ? {} : { signal };
    const connection = await Connection.open(settings, "pixl takes", abortable);
    try {
      return new RabbitmqBroker(connection, await Connection.open(settings, "pixl publishes", abortable));
    } catch (error) {
      await connection[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Makes the queues that are not there.
   *
   * @throws {QueueError} `queue-mismatch` if one exists with other arguments.
   * @throws {RangeError} If RabbitMQ takes no such name: it must have 1 to 240 bytes and not begin with `amq.`.
   */
  async declare(queue: string, options: Abortable = {}): Promise<void> {
    const names = queueNames(queue);
    const { settings } = this.#connection;
    await this.#connection.withChannel(queue, (channel) => declareQueues(channel, names, settings), options);
  }

  /** See {@linkcode Broker.publish}. At most 1,000 messages or 8 MiB wait for their confirmation at once. */
  async publish(
    queue: string,
    messages: Iterable<OutgoingMessage> | AsyncIterable<OutgoingMessage>,
    options: PublishOptions = {},
  ): Promise<number> {
    return await this.#publisher.publish(queue, messages, options);
  }

  /** See {@linkcode Broker.subscribe}. With a prefetch, RabbitMQ sends no more than so many that are not yet answered. */
  async subscribe(
    queue: string,
    { prefetch = 0, singleActive = false, signal }: SubscribeOptions = {},
  ): Promise<Subscription> {
    checkWhole("prefetch", prefetch, 0, 65_535);
    const forget = (closed: RabbitmqSubscription) => this.#subscriptions.delete(closed);
    const taking = { prefetch, singleActive };
    const subscription = new RabbitmqSubscription(this.#connection, this.#publisher, queue, taking, forget);
    await subscription.start(signal === undefined ? {} : { signal });
    this.#subscriptions.add(subscription);
    return subscription;
  }

  /** See {@linkcode Broker.depth}. RabbitMQ does not tell over AMQP how many are in hand. */
  async depth(queue: string, options: Abortable = {}): Promise<QueueDepth> {
    const names = queueNames(queue);
    return await this.#connection.withChannel(queue, async (channel) => {
      const count = async (name: string) => (await channel.checkQueue(name)).messageCount;
      // The delays first: what moves from there to the main queue meanwhile is counted twice rather than not at all.
      let delayed = 0;
      for (const name of names.delays) delayed += await count(name);
      const [ready, dead] = [await count(names.main), await count(names.dead)];
      const { consumerCount: consumers } = await channel.checkQueue(names.consumers);
      return { ready, delayed, inHand: undefined, dead, consumers };
    }, options);
  }

  /**
   * See {@linkcode Broker.age}; to the second. RabbitMQ shows a message only to who takes it, so it is taken and handed back. A quorum queue counts
   * that: after ten looks at one message a fresh copy takes its place, behind the others. A classic queue would take it for the death of a consumer, so
   * there it is not looked at, and nothing is said.
   */
  async age(queue: string, options: Abortable = {}): Promise<number | undefined> {
    const { settings } = this.#connection;
    return await this.#connection.withChannel(queue, async (channel) => {
      const { main } = queueNames(queue);
      await channel.checkQueue(main);
      if (settings.queueType === "classic") return undefined;
      const message = await channel.get(main);
      if (message === false) return undefined;
      const session = new Session(channel, this.#connection);
      const send = (name: string, letter: Letter, abort: Abortable) => this.#publisher.send(name, letter, abort);
      const delivery = new RabbitmqDelivery(message, { queue, session, settings, send });
      await delivery.release();
      const { publishedAt } = delivery;
      return publishedAt === undefined ? undefined : Math.max(0, Date.now() - Date.parse(publishedAt));
    }, options);
  }

  /** See {@linkcode Broker.purge}. */
  async purge(queue: string, options: Abortable = {}): Promise<number> {
    const { main, delays } = queueNames(queue);
    const counts = await this.#connection.withChannel(queue, async (channel) => {
      // What is delayed first: it would move into a queue that is already empty.
      const purged: number[] = [];
      for (const name of [...delays, main]) purged.push((await channel.purgeQueue(name)).messageCount);
      return purged;
    }, options);
    return counts.reduce((sum, some) => sum + some, 0);
  }

  /** See {@linkcode Broker.walk}. */
  async walk(
    queue: string,
    place: "waiting" | "dead",
    visit: (batch: readonly KeptMessage[]) => Promise<readonly Verdict[]>,
    { batch = 500, signal }: WalkOptions = {},
  ): Promise<number> {
    checkWhole("batch", batch, 1, 65_535);
    const { main, delays, dead } = queueNames(queue);
    const abort = signal === undefined ? {} : { signal };
    const channel = await this.#connection.channel(abort);
    const copy = async (message: Message, change: Change) => {
      const { properties, content } = message;
      await this.#publisher.send(main, {
        messageId: readProperties(properties).messageId,
        body: new Uint8Array(content),
        properties: copied(properties, change),
      });
      channel.ack(message);
    };
    /** What to do with the messages that are held until all were shown, so that none is shown twice. */
    const held: (() => Promise<void>)[] = [];
    /** How many messages of each queue are among these that go back to it as they are. */
    const handedBack = new Map<string, number>();
    const execute = async (message: Message, verdict: "keep" | "requeue", source: string) => {
      if (verdict === "requeue") {
        if (place === "dead") await copy(message, { attempt: 1 });
        else held.push(() => copy(message, { attempt: 1 }));
      } else if (source === main && this.#wouldCount(message)) {
        held.push(() => copy(message, { returns: returnsOf(message.properties) }));
      } else {
        const light = { ...message, content: NOTHING };
        held.push(() => Promise.resolve(handBack(channel, light)));
        handedBack.set(source, (handedBack.get(source) ?? 0) + 1);
      }
    };
    let shown = 0;
    let failure: unknown;
    try {
      // The delays first: what moves from there to the main queue meanwhile is seen there.
      for (const source of place === "dead" ? [dead] : [...delays, main]) {
        const walk: Walk = {
          batch,
          visit: (messages) => visit(messages.map(place === "dead" ? deadLetter : keptMessage)),
          execute: (message, verdict) => execute(message, verdict, source),
        };
        shown += await walkQueue(this.#connection, channel, source, walk, abort);
      }
    } finally {
      // In their order, which the end of the channel would not keep.
      for (const finish of held) await finish().catch((error) => failure ??= error);
      await areBack(this.#connection, channel, handedBack).catch(() => {}); // if it is cut, they go back by themselves
      closeChannel(channel);
    }
    if (failure !== undefined) throw failure;
    return shown;
  }

  /** Whether to hand a message back would bring it nearer to being a dead letter. A fresh copy is counted from where it was, or from zero. */
  #wouldCount({ properties }: Message): boolean {
    const { queueType, maxDeliveries } = this.#connection.settings;
    return queueType === "classic" || deliveriesOf(properties) >= maxDeliveries / 2;
  }

  /** Hands back what is in hand and closes the connection, within about 5 s whatever the broker does. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#subscriptions].map((subscription) => subscription[Symbol.asyncDispose]()));
    await Promise.all([this.#connection[Symbol.asyncDispose](), this.#publishing[Symbol.asyncDispose]()]);
  }
}

/** Waits until messages that were handed back can be seen again, unless others take them meanwhile: else who looks next would find fewer. */
async function areBack(
  connection: Connection,
  channel: Channel,
  handedBack: ReadonlyMap<string, number>,
): Promise<void> {
  const end = performance.now() + BACK_MS;
  for (const [queue, count] of handedBack) {
    while ((await connection.answer(channel.checkQueue(queue), queue)).messageCount < count) {
      if (performance.now() > end) return;
      await delay(BACK_MS / 100);
    }
  }
}

function handBack(channel: Channel, message: Message): void {
  try {
    channel.nack(message, false, true);
  } catch {
    // The channel is closed: RabbitMQ has it back already.
  }
}
