import { getLogger } from "@logtape/logtape";
import { abortable, deadline, delay } from "@std/async";
import type { PixlError } from "../../errors.ts";
import type { Abortable, Delivery, Subscription } from "../broker.ts";
import { QueueError } from "../errors.ts";
import { closed, queueError } from "./errors.ts";

/** What a subscription needs of its broker. */
export interface Source {
  /** Its name, for errors. */
  readonly queue: string;
  /** Takes up to so many messages that wait now. */
  claim(limit: number): Promise<Delivery[]>;
  /** Longest pause between two looks, in milliseconds. */
  readonly pollMs: number;
  /** Messages to hold ahead of `next()`. */
  readonly prefetch: number;
  /** Called once, when it is closed. Never rejects. */
  readonly onClose: () => Promise<void>;
}

const FIRST_PAUSE_MS = 20;
const MOST_AT_ONCE = 100;
/** Time allowed to the last look when closing. What it still brings later is handed back then. */
const CLOSE_MS = 5_000;

const log = getLogger(["pixl", "queue", "postgres"]);

type Waiter = PromiseWithResolvers<Delivery>;

/** Looks for messages in one loop, however many calls of `next()` wait, and not at all while none does and nothing is wanted ahead. */
export class PostgresSubscription implements Subscription {
  readonly #source: Source;
  readonly #waiters = new Set<Waiter>();
  #ahead: Delivery[] = [];
  #looking: Promise<void> | undefined;
  #pause: AbortController | undefined;
  #closing: Promise<void> | undefined;
  /** Why nothing more can be taken, for good. */
  #failed: PixlError | undefined;
  /** Whether it was said that the database does not answer. */
  #warned = false;

  constructor(source: Source) {
    this.#source = source;
    this.#look();
  }

  async next({ signal }: Abortable = {}): Promise<Delivery> {
    signal?.throwIfAborted();
    if (this.#closing !== undefined) throw closed("subscription");
    if (this.#failed !== undefined) throw this.#failed;
    const ahead = this.#takeAhead();
    if (ahead !== undefined) return ahead;
    const waiter = Promise.withResolvers<Delivery>();
    this.#waiters.add(waiter);
    this.wake();
    try {
      return await (signal === undefined ? waiter.promise : abortable(waiter.promise, signal));
    } catch (error) {
      // Given at the very moment of the abort: nobody else would answer it.
      if (!this.#waiters.delete(waiter)) handBack(waiter.promise);
      throw error;
    }
  }

  /** Looks now: a message may be there. */
  wake(): void {
    this.#pause?.abort();
    this.#look();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    // Not before `#closing` is set.
    await Promise.resolve();
    this.#pause?.abort();
    this.#rejectAll(closed("subscription"));
    await deadline(this.#looking ?? Promise.resolve(), CLOSE_MS).catch(() => {});
    await this.#releaseAhead();
    await this.#source.onClose();
  }

  #takeAhead(): Delivery | undefined {
    const at = this.#ahead.findIndex((delivery) => !delivery.lost.aborted);
    const taken = this.#ahead.splice(0, at < 0 ? this.#ahead.length : at + 1);
    this.#look();
    return at < 0 ? undefined : taken.at(-1);
  }

  get #wanted(): number {
    if (this.#closing !== undefined || this.#failed !== undefined) return 0;
    return this.#waiters.size + this.#source.prefetch - this.#ahead.length;
  }

  #look(): void {
    if (this.#wanted <= 0) return;
    this.#looking ??= this.#lookOn().finally(() => {
      this.#looking = undefined;
      this.#look();
    });
  }

  /** Never rejects. */
  async #lookOn(): Promise<void> {
    for (let pauseMs = FIRST_PAUSE_MS; this.#wanted > 0;) {
      try {
        const found = await this.#source.claim(Math.min(this.#wanted, MOST_AT_ONCE));
        this.#warned = false;
        await this.#give(found);
        if (found.length > 0) {
          pauseMs = FIRST_PAUSE_MS;
          continue;
        }
      } catch (cause) {
        const error = queueError(`take a message from the queue '${this.#source.queue}'`, cause);
        // A database that does not answer may come back, as a broker would: whoever waits goes on waiting.
        if (!(error instanceof QueueError && error.code === "broker-unreachable")) {
          this.#failed = error;
          this.#rejectAll(error);
          return;
        }
        this.#warn(error);
      }
      await this.#rest(pauseMs);
      pauseMs = Math.min(pauseMs * 2, this.#source.pollMs);
    }
  }

  /** Once an outage. */
  #warn({ message: reason }: QueueError): void {
    if (this.#warned || this.#closing !== undefined) return;
    this.#warned = true;
    log.warn("Waiting for the database: {reason}", { reason });
  }

  async #rest(pauseMs: number): Promise<void> {
    if (this.#closing !== undefined) return;
    this.#pause = new AbortController();
    await delay(pauseMs, { signal: this.#pause.signal }).catch(() => {});
    this.#pause = undefined;
  }

  async #give(found: readonly Delivery[]): Promise<void> {
    for (const delivery of found) {
      const [waiter] = this.#waiters;
      if (waiter === undefined) {
        this.#ahead.push(delivery);
        continue;
      }
      this.#waiters.delete(waiter);
      waiter.resolve(delivery);
    }
    if (this.#closing !== undefined) await this.#releaseAhead();
    // Those who asked have gone since.
    else await release(this.#ahead.splice(this.#source.prefetch));
  }

  async #releaseAhead(): Promise<void> {
    await release(this.#ahead.splice(0));
  }

  #rejectAll(error: Error): void {
    for (const { reject } of this.#waiters) reject(error);
    this.#waiters.clear();
  }
}

/** A message that cannot be given back now comes back by itself when its lease has run out. */
async function release(deliveries: readonly Delivery[]): Promise<void> {
  await Promise.allSettled(deliveries.map((delivery) => delivery.release()));
}

function handBack(given: Promise<Delivery>): void {
  given.then((delivery) => delivery.release()).catch(() => {});
}
