import { deadline } from "@std/async";
import type postgres from "postgres";
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
import { Consumers, type Registration } from "./consumers.ts";
import { PostgresDelivery } from "./delivery.ts";
import { closed, queueError } from "./errors.ts";
import { Leases } from "./leases.ts";
import { CALL_MS, CLOSE_MS } from "./limits.ts";
import { Listener } from "./listener.ts";
import { MessageTable } from "./message_table.ts";
import { publishBatches } from "./publish.ts";
import { QueueTable } from "./queue_table.ts";
import { PostgresSubscription } from "./subscription.ts";
import { walk } from "./walk.ts";

/** How a {@linkcode PostgresBroker} takes messages. */
export interface PostgresBrokerOptions {
  /**
   * How long a message, or the place of the one active subscription, is ours without a sign of life, in milliseconds; renewed three times in that time
   * while it is in hand. After a crash its messages come back when it has passed, as the next attempt. @default {30_000}
   */
  readonly leaseMs?: number;
  /**
   * Whether what is published or handed back is told to waiting `next()`s of other processes at once, by LISTEN and NOTIFY. For a server: it costs
   * a connection. The embedded database passes nothing on. @default {false}
   */
  readonly listen?: boolean;
  /**
   * Longest pause between two looks of a waiting `next()`, in milliseconds: so late may be what its delay or its dead consumer gives back, and, unless
   * it listens, what another process published. What this very broker publishes is seen at once. @default {250, with `listen` 1_000}
   */
  readonly pollMs?: number;
  /** Shown in the tables before the names of messages in hand and subscriptions, which are unique without it. @default {"pixl"} */
  readonly owner?: string;
}

/** After so many published messages the planner is told how much there is. */
const BULK = 10_000;

/**
 * A broker in PostgreSQL's tables, on a server or embedded: for where no RabbitMQ is installed. Made by `migrate` of `@pixl/core/database`.
 *
 * A message in hand is leased: it stays in the table, and comes back if its consumer dies. All times are the server's, so clocks need not agree.
 */
export class PostgresBroker implements Broker {
  readonly #sql: postgres.Sql;
  readonly #table: MessageTable;
  readonly #queues: QueueTable;
  readonly #leases: Leases;
  readonly #consumers: Consumers;
  readonly #listener: Listener | undefined;
  readonly #leaseMs: number;
  readonly #pollMs: number;
  readonly #owner: string;
  readonly #subscriptions = new Map<PostgresSubscription, string>();
  #leasesGiven = 0;
  /** Messages that were published since the planner was told. */
  #unknown = 0;
  #closing: Promise<void> | undefined;

  /**
   * Works on that database.
   *
   * @param sql postgres.js handle; the caller closes it, after the broker.
   * @param options How it takes messages.
   * @throws {RangeError} If a time is not positive.
   */
  constructor(sql: postgres.Sql, options: PostgresBrokerOptions = {}) {
    const { leaseMs = 30_000, listen = false, pollMs = listen ? 1_000 : 250, owner = "pixl" } = options;
    for (const [name, value] of Object.entries({ leaseMs, pollMs })) {
      if (value > 0 && value < 2 ** 31) continue;
      throw new RangeError(
        `Cannot make a broker as '${name}' must be positive and below 2^31: current value is ${value}`,
      );
    }
    this.#sql = sql;
    this.#table = new MessageTable(sql);
    this.#queues = new QueueTable(sql);
    this.#leases = new Leases(this.#table, leaseMs);
    this.#listener = listen ? new Listener(sql, (queue) => this.#wake(queue)) : undefined;
    this.#consumers = new Consumers(sql, leaseMs, () => this.#listener?.tell(""));
    this.#leaseMs = leaseMs;
    this.#pollMs = pollMs;
    this.#owner = `${owner}/${crypto.randomUUID()}`;
  }

  /** Makes the queue known. Its tables must be there. */
  declare(queue: string, options: Abortable = {}): Promise<void> {
    return this.#call(`declare the queue '${queue}'`, () => this.#queues.declare(queue), options);
  }

  /** As the interface says; up to 1,000 messages a statement, each statement whole or nothing. */
  async publish(
    queue: string,
    messages: Iterable<OutgoingMessage> | AsyncIterable<OutgoingMessage>,
    options: PublishOptions = {},
  ): Promise<number> {
    this.#check(options);
    const stored = await publishBatches(queue, messages, options, async (batch) => {
      if (this.#closing !== undefined) throw closed("broker");
      await this.#table.insert(queue, batch);
      this.#tell(queue);
    });
    this.#unknown += stored;
    if (this.#unknown >= BULK) {
      this.#unknown = 0;
      await deadline(this.#queues.analyze(), CALL_MS).catch(() => {});
    }
    return stored;
  }

  /** As the interface says. */
  async subscribe(queue: string, options: SubscribeOptions = {}): Promise<Subscription> {
    const { prefetch = 0, singleActive = false, signal } = options;
    if (!Number.isSafeInteger(prefetch) || prefetch < 0) {
      throw new RangeError(
        `Cannot subscribe as 'prefetch' must be a whole number of at least 0: current value is ${prefetch}`,
      );
    }
    const registration: Registration = { queue, owner: this.#nextLease() };
    try {
      await this.#call(`subscribe to the queue '${queue}'`, async () => {
        await this.#queues.check(queue);
        signal?.throwIfAborted();
        await this.#consumers.add(registration);
      }, options);
      this.#check(options);
    } catch (error) {
      await this.#consumers.remove(registration);
      throw error;
    }
    this.#listener?.start();
    const subscription = new PostgresSubscription({
      queue,
      pollMs: this.#pollMs,
      prefetch,
      claim: (limit) => this.#claim(registration, singleActive, limit),
      onClose: async () => {
        this.#subscriptions.delete(subscription);
        await this.#consumers.remove(registration);
        if (singleActive) this.#tell(queue);
      },
    });
    this.#subscriptions.set(subscription, queue);
    return subscription;
  }

  /** As the interface says. A message whose lease ran out is ready. */
  depth(queue: string, options: Abortable = {}): Promise<QueueDepth> {
    return this.#call(`count the queue '${queue}'`, () => this.#queues.depth(queue), options);
  }

  /** As the interface says. */
  age(queue: string, options: Abortable = {}): Promise<number | undefined> {
    return this.#call(`look into the queue '${queue}'`, () => this.#queues.age(queue), options);
  }

  /** As the interface says. */
  purge(queue: string, options: Abortable = {}): Promise<number> {
    return this.#call(`purge the queue '${queue}'`, () => this.#queues.purge(queue), options);
  }

  /** As the interface says; in the order of publication. What is shown counts as in hand, and comes back if this process dies, without counting an attempt. */
  async walk(
    queue: string,
    place: "waiting" | "dead",
    visit: (batch: readonly KeptMessage[]) => Promise<readonly Verdict[]>,
    options: WalkOptions = {},
  ): Promise<number> {
    await this.#call(`walk through the queue '${queue}'`, () => this.#queues.check(queue), options);
    const shown = await walk(
      {
        sql: this.#sql,
        table: this.#table,
        leases: this.#leases,
        leaseMs: this.#leaseMs,
        queue,
        place,
        nextLease: () => {
          this.#check({});
          return this.#nextLease();
        },
      },
      visit,
      options,
    );
    this.#tell(queue);
    return shown;
  }

  /** Ends the subscriptions and hands back what is in hand. The database stays open. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    const queues = new Set(this.#subscriptions.values());
    await Promise.all([...this.#subscriptions.keys()].map((subscription) => subscription[Symbol.asyncDispose]()));
    this.#consumers.close();
    const held = this.#leases.dropAll();
    // If the database is gone, they come back when their leases have run out.
    if (held.length > 0) {
      await deadline(this.#table.release(held), CLOSE_MS).catch(() => {});
      for (const queue of queues) this.#tell(queue);
    }
    await this.#listener?.stop();
  }

  async #claim(registration: Registration, singleActive: boolean, limit: number): Promise<PostgresDelivery[]> {
    const { queue, owner } = registration;
    if (singleActive && !await this.#consumers.activate(registration)) return [];
    const since = performance.now();
    const active = singleActive ? owner : undefined;
    const rows = await this.#table.claim(queue, this.#nextLease(), this.#leaseMs, limit, active);
    return rows.map((row) =>
      new PostgresDelivery(row, since, {
        sql: this.#sql,
        table: this.#table,
        leases: this.#leases,
        wake: () => this.#tell(queue),
      })
    );
  }

  #nextLease(): string {
    return `${this.#owner}/${this.#leasesGiven++}`;
  }

  /** A message is there: tells the subscriptions of this process and of others. Waits for nothing. */
  #tell(queue: string): void {
    this.#wake(queue);
    this.#listener?.tell(queue);
  }

  #wake(queue: string | undefined): void {
    for (const [subscription, name] of this.#subscriptions) {
      if (queue === undefined || name === queue) subscription.wake();
    }
  }

  #check({ signal }: Abortable): void {
    signal?.throwIfAborted();
    if (this.#closing !== undefined) throw closed("broker");
  }

  async #call<T>(action: string, work: () => Promise<T>, { signal }: Abortable): Promise<T> {
    this.#check(signal === undefined ? {} : { signal });
    try {
      return await deadline(work(), CALL_MS, signal === undefined ? {} : { signal });
    } catch (error) {
      if (signal?.aborted && error === signal.reason) throw error;
      throw queueError(action, error);
    }
  }
}
