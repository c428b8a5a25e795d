import { checkCapacity, checkInitial, checkMaxWait, checkRate, checkTokens, tooMany } from "./checks.ts";
import { RateLimitTimeoutError } from "./errors.ts";
import type { RateLimiter, TakeOptions } from "./rate_limiter.ts";
import { TokenLevel } from "./token_level.ts";
import { WaiterList } from "./waiter_list.ts";

/** How a {@linkcode TokenBucket} starts. */
export interface TokenBucketOptions {
  /** Tokens earned a second; fractions allowed, 0 pauses: none is earned and none is given out. @default {5} */
  readonly rate?: number;
  /**
   * Most tokens kept, and so the largest burst. A whole number, at least 1. Timers come some milliseconds late, and what is earned meanwhile above the
   * capacity is lost: for a steady rate it should hold what is earned in 20 ms. @default {5}
   */
  readonly capacity?: number;
  /** Tokens at the start. One, not a full bucket: a service that restarts must not greet the archive with a burst. @default {1} */
  readonly initial?: number;
  /** Milliseconds from any origin, never going back. @default {performance.now} */
  readonly clock?: () => number;
}

/** The longest delay that `setTimeout` honours, in milliseconds (a signed 32-bit number); a longer wait is made of several. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Thousandths of a token by which one may be short, so that a token that is due is not put off for the last bit of a floating-point number. */
const TOLERANCE = 1e-6;

/** How a `take()` without options waits. */
const ANY_TIME: TakeOptions = {};

/** The answer to every `take()` that need not wait. */
const TAKEN: Promise<void> = Promise.resolve();

/**
 * Lets actions happen at a steady rate: each takes a token, and tokens are earned at `rate` a second up to `capacity`. In any time T no more than
 * `capacity + rate × T` are taken. Those who wait are served strictly in order; nobody overtakes, and an action that no longer wants its token leaves no
 * trace.
 *
 * @example At most five a second, changed while running
 * ```ts
 * import { TokenBucket } from "@pixl/core/rate-limiter";
 * import { assertEquals } from "@std/assert";
 *
 * const bucket = new TokenBucket({ rate: 5 });
 * await bucket.take();
 * assertEquals(bucket.tryTake(), false);
 * bucket.setRate(1_000);
 * await bucket.take();
 * ```
 */
export class TokenBucket implements RateLimiter {
  #capacity: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #level: TokenLevel;
  readonly #clock: () => number;
  /** The wall clock's millisecond in which the clock was last looked at; no number if the caller's clock has nothing to do with it. */
  #millisecond: number | undefined;
  readonly #waiters = new WaiterList();

  /**
   * A bucket that starts to earn now.
   *
   * @param options Rate, capacity and clock.
   * @throws {RangeError} If a number is not finite, negative, or a capacity no whole number of at least 1.
   */
  constructor(options: TokenBucketOptions = {}) {
    const { rate = 5, capacity = 5, initial = 1, clock } = options;
    this.#capacity = checkCapacity(capacity);
    this.#clock = clock ?? (() => performance.now());
    if (clock === undefined) this.#millisecond = Date.now();
    this.#level = new TokenLevel(checkRate(rate), capacity, checkInitial(initial, capacity), this.#clock());
  }

  /** Tokens earned a second. */
  get rate(): number {
    return this.#level.rate;
  }

  /** Most tokens kept. */
  get capacity(): number {
    return this.#capacity;
  }

  /** Tokens there are now; a fraction while the next one is being earned. */
  get tokens(): number {
    return this.#level.at(this.#clock()) / 1_000;
  }

  /** How many calls of {@linkcode take} wait. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /**
   * Changes the rate at once, for those who wait too. What was earned so far is kept at the old rate.
   *
   * @param rate Tokens a second; 0 pauses: nothing is earned or given out, those who wait keep their place.
   * @throws {RangeError} If it is not a finite number of at least 0.
   */
  setRate(rate: number): void {
    checkRate(rate);
    // Whose token was earned by now has it, even if the timer is late.
    this.#serve();
    const now = this.#clock();
    this.#level.setRate(rate, now);
    this.#waiters.refuseLate(({ n, deadline, maxWaitMs }, ahead) => {
      const needed = this.#timeFor(ahead + n, now);
      return now + needed > deadline ? new RateLimitTimeoutError(maxWaitMs, needed) : undefined;
    });
    this.#serve();
  }

  /**
   * Changes the capacity. Tokens above it are lost; those who wait for more than it get a `RangeError`.
   *
   * @param capacity A whole number of at least 1.
   * @throws {RangeError} If it is anything else.
   */
  setCapacity(capacity: number): void {
    this.#level.setCapacity(checkCapacity(capacity), this.#clock());
    this.#capacity = capacity;
    this.#waiters.refuseIf(({ n }) => n > capacity ? tooMany(n, capacity) : undefined);
    this.#serve();
  }

  /**
   * Takes tokens if they are there and nobody waits.
   *
   * @param n How many. @default {1}
   * @returns Whether they were taken.
   * @throws {RangeError} If `n` is no whole number from 1 to the capacity.
   */
  tryTake(n = 1): boolean {
    checkTokens(n, this.#capacity);
    return this.#waiters.size === 0 && this.#spend(n);
  }

  /**
   * Waits its turn, then takes tokens.
   *
   * @param n How many. @default {1}
   * @param options A signal and the longest wait.
   * @throws {RangeError} If `n` is no whole number from 1 to the capacity, or `maxWaitMs` is negative.
   * @throws {RateLimitTimeoutError} If they cannot be had within `maxWaitMs`, at once; or when a lower rate puts them out of reach.
   */
  take(n = 1, options: TakeOptions = ANY_TIME): Promise<void> {
    try {
      checkTokens(n, this.#capacity);
      const maxWaitMs = checkMaxWait(options.maxWaitMs ?? Infinity);
      const signal = options.signal;
      signal?.throwIfAborted();
      if (this.#waiters.size === 0 && this.#spend(n)) return TAKEN;
      const now = this.#clock();
      const needed = this.#timeFor(this.#waiters.wanted + n, now);
      if (needed > maxWaitMs) throw new RateLimitTimeoutError(maxWaitMs, needed);
      const taken = this.#waiters.add(n, now, maxWaitMs, signal, () => this.#serve());
      if (this.#waiters.size === 1) this.#serve();
      return taken;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * How long until {@linkcode tryTake} would be true if nobody else asked.
   *
   * @param n How many tokens. @default {1}
   * @returns Milliseconds; `Infinity` at rate 0.
   * @throws {RangeError} If `n` is no whole number from 1 to the capacity.
   */
  timeUntil(n = 1): number {
    checkTokens(n, this.#capacity);
    return this.#timeFor(this.#waiters.wanted + n, this.#clock());
  }

  /**
   * Gives back tokens that were taken and not used.
   *
   * @param n How many. What would go above the capacity is lost. @default {1}
   * @throws {RangeError} If `n` is no whole number from 1 to the capacity.
   */
  refund(n = 1): void {
    checkTokens(n, this.#capacity);
    this.#level.giveBack(n, this.#clock());
    this.#serve();
  }

  /** Takes tokens if they are there. */
  #spend(n: number): boolean {
    const level = this.#level;
    if (level.rate === 0) return false;
    if (!level.surelyHas(n * 1_000) || !this.#sameMillisecond()) {
      if (!(level.at(this.#clock()) + TOLERANCE >= n * 1_000)) return false;
    }
    level.spend(n);
    return true;
  }

  /**
   * Whether the clock was looked at within this millisecond. `performance.now` takes twice as long as `Date.now` and three times as long as all the
   * rest of {@linkcode tryTake}.
   */
  #sameMillisecond(): boolean {
    if (this.#millisecond === undefined) return false;
    const millisecond = Date.now();
    if (millisecond === this.#millisecond) return true;
    this.#millisecond = millisecond;
    return false;
  }

  #timeFor(n: number, now: number): number {
    if (this.#level.rate === 0) return Infinity;
    const missing = n * 1_000 - this.#level.at(now);
    return missing <= TOLERANCE ? 0 : missing / this.#level.rate;
  }

  /** Serves whose turn it is and has tokens, then sets the one timer for the next. */
  #serve(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    let next = this.#waiters.first;
    for (; next !== undefined && this.#spend(next.n); next = this.#waiters.first) this.#waiters.grant(next);
    if (next === undefined || this.#level.rate === 0) return;
    const ms = Math.min(Math.ceil(this.#timeFor(next.n, this.#clock())), LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => this.#serve(), ms);
  }
}
