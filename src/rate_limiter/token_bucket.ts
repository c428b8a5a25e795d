import { RateLimitTimeoutError } from "./errors.ts";
import { WaiterList } from "./waiter_list.ts";

/** How a {@linkcode TokenBucket} starts. */
export interface TokenBucketOptions {
  /** Tokens earned a second; fractions allowed, 0 pauses: none is earned and none is given out. @default {5} */
  readonly rate?: number;
  /** Most tokens kept, and so the largest burst. A whole number, at least 1. @default {5} */
  readonly capacity?: number;
  /** Tokens at the start. One, not a full bucket: a service that restarts must not greet the archive with a burst. @default {1} */
  readonly initial?: number;
  /** Milliseconds from any origin, never going back. @default {performance.now} */
  readonly clock?: () => number;
}

/** How long a {@linkcode TokenBucket.take} may wait. */
export interface TakeOptions {
  /** Ends the wait without taking: the promise rejects with its reason. */
  readonly signal?: AbortSignal;
  /** Rejects at once if the tokens cannot be had within so many milliseconds. @default {Infinity} */
  readonly maxWaitMs?: number;
}

/** The longest delay that `setTimeout` honours, in milliseconds (a signed 32-bit number); a longer wait is made of several. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Tokens are compared with this tolerance, so that a token that is due is not put off for the last bit of a floating-point number. */
const EPSILON = 1e-9;

/**
 * Lets actions happen at a steady rate: each takes a token, and tokens are earned at `rate` a second up to `capacity`. Those who wait are served
 * strictly in order; nobody overtakes, and an action that no longer wants its token leaves no trace.
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
export class TokenBucket {
  #rate: number;
  #capacity: number;
  #tokens: number;
  #settledAt: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #clock: () => number;
  readonly #waiters = new WaiterList();

  /**
   * A bucket that starts to earn now.
   *
   * @param options Rate, capacity and clock.
   * @throws {RangeError} If a number is not finite, negative, or a capacity no whole number of at least 1.
   */
  constructor(options: TokenBucketOptions = {}) {
    const { rate = 5, capacity = 5, initial = 1, clock = () => performance.now() } = options;
    this.#rate = checkRate(rate);
    this.#capacity = checkCount(capacity, "capacity");
    this.#tokens = checkInitial(initial, capacity);
    this.#clock = clock;
    this.#settledAt = clock();
  }

  /** Tokens earned a second. */
  get rate(): number {
    return this.#rate;
  }

  /** Most tokens kept. */
  get capacity(): number {
    return this.#capacity;
  }

  /** Tokens there are now; a fraction while the next one is being earned. */
  get tokens(): number {
    this.#settle();
    return this.#tokens;
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
    this.#settle();
    this.#rate = rate;
    this.#refuseLate();
    this.#serve();
  }

  /**
   * Changes the capacity. Tokens above it are lost; those who wait for more than it get a `RangeError`.
   *
   * @param capacity A whole number of at least 1.
   * @throws {RangeError} If it is anything else.
   */
  setCapacity(capacity: number): void {
    checkCount(capacity, "capacity");
    this.#settle();
    this.#capacity = capacity;
    this.#tokens = Math.min(this.#tokens, capacity);
    for (const waiter of this.#waiters) {
      if (waiter.n > capacity) waiter.refuse(tooMany(waiter.n, capacity));
    }
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
    this.#checkN(n);
    if (this.#waiters.size > 0) return false;
    this.#settle();
    if (this.#rate === 0 || this.#tokens + EPSILON < n) return false;
    this.#spend(n);
    return true;
  }

  /**
   * Waits its turn, then takes tokens.
   *
   * @param n How many. @default {1}
   * @param options A signal and the longest wait.
   * @throws {RangeError} If `n` is no whole number from 1 to the capacity, or `maxWaitMs` is negative.
   * @throws {RateLimitTimeoutError} If they cannot be had within `maxWaitMs`, at once; or when a lower rate puts them out of reach.
   */
  take(n = 1, options: TakeOptions = {}): Promise<void> {
    const { signal, maxWaitMs = Infinity } = options;
    this.#checkN(n);
    if (Number.isNaN(maxWaitMs) || maxWaitMs < 0) {
      throw new RangeError(`Cannot take tokens as 'maxWaitMs' must be at least 0: current value is ${maxWaitMs}`);
    }
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.tryTake(n)) return Promise.resolve();
    const needed = this.#timeFor(this.#waiters.wanted + n);
    if (needed > maxWaitMs) return Promise.reject(new RateLimitTimeoutError(maxWaitMs, needed));
    return new Promise((resolve, reject) => {
      const leave = this.#waiters.add({
        n,
        deadline: this.#clock() + maxWaitMs,
        grant: () => {
          end();
          resolve();
        },
        refuse: (reason) => {
          end();
          reject(reason);
        },
      });
      const abort = () => {
        end();
        reject(signal?.reason);
        this.#serve();
      };
      const end = () => {
        leave();
        signal?.removeEventListener("abort", abort);
      };
      signal?.addEventListener("abort", abort, { once: true });
      if (this.#waiters.size === 1) this.#serve();
    });
  }

  /**
   * How long until {@linkcode tryTake} would be true if nobody else asked.
   *
   * @param n How many tokens. @default {1}
   * @returns Milliseconds; `Infinity` at rate 0.
   * @throws {RangeError} If `n` is no whole number from 1 to the capacity.
   */
  timeUntil(n = 1): number {
    this.#checkN(n);
    return this.#timeFor(this.#waiters.wanted + n);
  }

  /**
   * Gives back tokens that were taken and not used.
   *
   * @param n How many. What would go above the capacity is lost. @default {1}
   * @throws {RangeError} If `n` is no whole number from 1 to the capacity.
   */
  refund(n = 1): void {
    this.#checkN(n);
    this.#settle();
    this.#tokens = Math.min(this.#capacity, this.#tokens + n);
    this.#serve();
  }

  #checkN(n: number): void {
    checkCount(n, "n");
    if (n > this.#capacity) throw tooMany(n, this.#capacity);
  }

  /** Adds what was earned since the last call. A clock that went back earns nothing and is followed. */
  #settle(): void {
    const now = this.#clock();
    const elapsed = now - this.#settledAt;
    this.#settledAt = now;
    if (elapsed > 0) this.#tokens = Math.min(this.#capacity, this.#tokens + (elapsed * this.#rate) / 1_000);
  }

  #spend(n: number): void {
    this.#tokens = Math.max(0, this.#tokens - n);
  }

  #timeFor(n: number): number {
    this.#settle();
    if (this.#rate === 0) return Infinity;
    const missing = n - this.#tokens;
    return missing <= EPSILON ? 0 : (missing * 1_000) / this.#rate;
  }

  /** Serves whose turn it is and has tokens, then sets the one timer for the next. */
  #serve(): void {
    this.#settle();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#rate === 0) return;
    for (let next = this.#waiters.first; next !== undefined; next = this.#waiters.first) {
      if (this.#tokens + EPSILON < next.n) break;
      this.#spend(next.n);
      next.grant();
    }
    const next = this.#waiters.first;
    if (next === undefined) return;
    const ms = Math.min(Math.ceil(this.#timeFor(next.n)), LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => this.#serve(), ms);
  }

  /** After a change of rate, lets those go who cannot be served in time. */
  #refuseLate(): void {
    const now = this.#clock();
    let wanted = 0;
    for (const waiter of this.#waiters) {
      const needed = this.#timeFor(wanted + waiter.n);
      if (now + needed > waiter.deadline) waiter.refuse(new RateLimitTimeoutError(waiter.deadline - now, needed));
      else wanted += waiter.n;
    }
  }
}

function checkRate(rate: number): number {
  if (!Number.isFinite(rate) || rate < 0) {
    throw new RangeError(
      `Cannot set the rate as 'rate' must be a finite number of at least 0: current value is ${rate}`,
    );
  }
  return rate;
}

function checkCount(n: number, name: string): number {
  if (!Number.isSafeInteger(n) || n < 1) {
    throw new RangeError(
      `Cannot use the bucket as '${name}' must be a whole number of at least 1: current value is ${n}`,
    );
  }
  return n;
}

function checkInitial(initial: number, capacity: number): number {
  if (!(initial >= 0 && initial <= capacity)) {
    throw new RangeError(
      `Cannot use the bucket as 'initial' must be from 0 to the capacity ${capacity}: current value is ${initial}`,
    );
  }
  return initial;
}

function tooMany(n: number, capacity: number): RangeError {
  return new RangeError(`Cannot take tokens as 'n' must be at most the capacity ${capacity}: current value is ${n}`);
}
