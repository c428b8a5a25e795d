import type {
  Abortable,
  Broker,
  OutgoingMessage,
  PublishOptions,
  QueueDepth,
  SubscribeOptions,
  Subscription,
} from "../broker.ts";
import { Connection } from "./connection.ts";
import { checkWhole, type RabbitmqOptions, settingsOf } from "./options.ts";
import { Publisher } from "./publisher.ts";
import { RabbitmqSubscription } from "./subscription.ts";
import { declareQueues, queueNames } from "./topology.ts";

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
    const { maxDeliveries } = this.#connection.settings;
    await this.#connection.withChannel(queue, (channel) => declareQueues(channel, names, maxDeliveries), options);
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
  async subscribe(queue: string, { prefetch = 0, signal }: SubscribeOptions = {}): Promise<Subscription> {
    checkWhole("prefetch", prefetch, 0, 65_535);
    const forget = (closed: RabbitmqSubscription) => this.#subscriptions.delete(closed);
    const subscription = new RabbitmqSubscription(this.#connection, this.#publisher, queue, prefetch, forget);
    await subscription.start(signal === undefined ? {} : { signal });
    this.#subscriptions.add(subscription);
    return subscription;
  }

  /** See {@linkcode Broker.depth}. RabbitMQ does not tell over AMQP how many are in hand. */
  async depth(queue: string, options: Abortable = {}): Promise<QueueDepth> {
    const { main, delays, dead } = queueNames(queue);
    const counts = await this.#connection.withChannel(queue, async (channel) => {
      const count = async (name: string) => (await channel.checkQueue(name)).messageCount;
      // The delays first: what moves from there to the main queue meanwhile is counted twice rather than not at all.
      const delayed: number[] = [];
      for (const name of delays) delayed.push(await count(name));
      return [await count(main), await count(dead), ...delayed];
    }, options);
    const [ready = 0, deadLetters = 0, ...delayed] = counts;
    return { ready, delayed: delayed.reduce((sum, some) => sum + some, 0), inHand: undefined, dead: deadLetters };
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

  /** Hands back what is in hand and closes the connection, within about 4 s whatever the broker does. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#subscriptions].map((subscription) => subscription[Symbol.asyncDispose]()));
    await Promise.all([this.#connection[Symbol.asyncDispose](), this.#publishing[Symbol.asyncDispose]()]);
  }
}
