import { abortable, deadline } from "@std/async";
import type postgres from "postgres";
import type {
  Abortable,
  Broker,
  OutgoingMessage,
  PublishOptions,
  QueueDepth,
  SubscribeOptions,
  Subscription,
} from "../broker.ts";
import { PostgresDelivery } from "./delivery.ts";
import { closed, queueError } from "./errors.ts";
import { Leases } from "./leases.ts";
import { MessageTable } from "./message_table.ts";
import { publishBatches } from "./publish.ts";
import { PostgresSubscription } from "./subscription.ts";

/** How a {@linkcode PostgresBroker} takes messages. */
export interface PostgresBrokerOptions {
  /**
   * How long a message is ours without a sign of life, in milliseconds; renewed three times in that time while it is in hand. After a crash its
   * messages come back when it has passed, as the next attempt. @default {30_000}
   */
  readonly leaseMs?: number;
  /** Longest pause between two looks of a waiting `next()`, in milliseconds. What this very broker publishes is seen at once. @default {250} */
  readonly pollMs?: number;
  /** Shown in the table beside the messages in hand. @default {a random UUID} */
  readonly owner?: string;
}

/** Time allowed to handing back what is in hand. */
const CLOSE_MS = 5_000;

/**
 * A broker in PostgreSQL's tables, on a server or embedded: for where no RabbitMQ is installed. Made by `migrate` of `@pixl/core/database`.
 *
 * A message in hand is leased: it stays in the table, and comes back if its consumer dies. All times are the server's, so clocks need not agree.
 */
export class PostgresBroker implements Broker {
  readonly #table: MessageTable;
  readonly #leases: Leases;
  readonly #leaseMs: number;
  readonly #pollMs: number;
  readonly #owner: string;
  readonly #subscriptions = new Map<PostgresSubscription, string>();
  #claims = 0;
  #closing: Promise<void> | undefined;

  /**
   * Works on that database.
   *
   * @param sql postgres.js handle; the caller closes it, after the broker.
   * @param options Times.
   * @throws {RangeError} If a time is not positive.
   */
  constructor(sql: postgres.Sql, options: PostgresBrokerOptions = {}) {
    const { leaseMs = 30_000, pollMs = 250, owner = crypto.randomUUID() } = options;
    for (const [name, value] of Object.entries({ leaseMs, pollMs })) {
      if (value > 0 && value < 2 ** 31) continue;
      throw new RangeError(
        `Cannot make a broker as '${name}' must be positive and below 2^31: current value is ${value}`,
      );
    }
    this.#table = new MessageTable(sql);
    this.#leases = new Leases(this.#table, leaseMs);
    this.#leaseMs = leaseMs;
    this.#pollMs = pollMs;
    this.#owner = owner;
  }

  /** Makes the queue known. Its tables must be there. */
  declare(queue: string, options: Abortable = {}): Promise<void> {
    return this.#call(`declare the queue '${queue}'`, () => this.#table.declare(queue), options);
  }

  /** As the interface says; up to 1,000 messages a statement, each statement whole or nothing. */
  async publish(
    queue: string,
    messages: Iterable<OutgoingMessage> | AsyncIterable<OutgoingMessage>,
    options: PublishOptions = {},
  ): Promise<number> {
    this.#check(options);
    return await publishBatches(queue, messages, options, async (batch) => {
      if (this.#closing !== undefined) throw closed("broker");
      await this.#table.insert(queue, batch);
      this.#wake(queue);
    });
  }

  /** As the interface says. */
  async subscribe(queue: string, options: SubscribeOptions = {}): Promise<Subscription> {
    const { prefetch = 0 } = options;
    if (!Number.isSafeInteger(prefetch) || prefetch < 0) {
      throw new RangeError(
        `Cannot subscribe as 'prefetch' must be a whole number of at least 0: current value is ${prefetch}`,
      );
    }
    await this.#call(`subscribe to the queue '${queue}'`, () => this.#table.check(queue), options);
    this.#check(options);
    const subscription = new PostgresSubscription({
      pollMs: this.#pollMs,
      prefetch,
      claim: (limit) => this.#claim(queue, limit),
      onClose: () => this.#subscriptions.delete(subscription),
    });
    this.#subscriptions.set(subscription, queue);
    return subscription;
  }

  /** As the interface says. A message whose lease ran out is ready. */
  depth(queue: string, options: Abortable = {}): Promise<QueueDepth> {
    return this.#call(`count the queue '${queue}'`, () => this.#table.depth(queue), options);
  }

  /** As the interface says. */
  purge(queue: string, options: Abortable = {}): Promise<number> {
    return this.#call(`purge the queue '${queue}'`, () => this.#table.purge(queue), options);
  }

  /** Ends the subscriptions and hands back what is in hand. The database stays open. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#subscriptions.keys()].map((subscription) => subscription[Symbol.asyncDispose]()));
    const held = this.#leases.dropAll();
    // If the database is gone, they come back when their leases have run out.
    if (held.length > 0) await deadline(this.#table.release(held), CLOSE_MS).catch(() => {});
  }

  async #claim(queue: string, limit: number): Promise<PostgresDelivery[]> {
    const since = performance.now();
    const rows = await this.#table.claim(queue, `${this.#owner}/${this.#claims++}`, this.#leaseMs, limit);
    return rows.map((row) => new PostgresDelivery(row, this.#table, this.#leases, since, () => this.#wake(queue)));
  }

  #wake(queue: string): void {
    for (const [subscription, name] of this.#subscriptions) if (name === queue) subscription.wake();
  }

  #check({ signal }: Abortable): void {
    signal?.throwIfAborted();
    if (this.#closing !== undefined) throw closed("broker");
  }

  async #call<T>(action: string, work: () => Promise<T>, { signal }: Abortable): Promise<T> {
    this.#check(signal === undefined ? {} : { signal });
    try {
      const promise = work();
      return await (signal === undefined ? promise : abortable(promise, signal));
    } catch (error) {
      if (signal?.aborted && error === signal.reason) throw error;
      throw queueError(action, error);
    }
  }
}
