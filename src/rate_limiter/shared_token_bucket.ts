import { deadline } from "@std/async";
import { getLogger } from "@logtape/logtape";
import { PixlError } from "../errors.ts";
import { BookedTokens } from "./booked_tokens.ts";
import { checkCapacity, checkMaxWait, checkRate, checkTokens, tooMany } from "./checks.ts";
import { RateLimitTimeoutError } from "./errors.ts";
import type { RateLimiter, TakeOptions } from "./rate_limiter.ts";
import type { Booking, TokenStore } from "./token_store.ts";
import { WaiterList } from "./waiter_list.ts";

const log = getLogger(["pixl", "rate"]);

/** How a {@linkcode SharedTokenBucket} is opened. */
export interface SharedTokenBucketOptions {
  /** Ends the first look at the store with its reason. */
  readonly signal?: AbortSignal;
  /** Milliseconds from any origin, never going back. @default {performance.now} */
  readonly clock?: () => number;
  /** From 0 up to 1, to keep processes from asking in step: of two that did, the second would never find a token. @default {Math.random} */
  readonly random?: () => number;
}

/** Tokens that are due later than this, in milliseconds, are not booked yet, but left to others. */
const HORIZON_MS = 400;

/**
 * Whoever got tokens the last time looks less far ahead, in milliseconds. It asks again when they are due, at the very moment at which the next comes
 * in sight, and would otherwise always be before those who got none.
 */
const MODEST_HORIZON_MS = 300;

/** Time between two questions to the store, in milliseconds, if tokens run short; more or less a fifth. */
const SHORT_MS = 250;

/** The same if nothing is short: a changed rate is seen within that time. */
const LONG_MS = 500;

/** So long after its last word from the store a bucket gives out nothing: the rate may have been changed. */
const LEASE_MS = 1_000;

/** A token that nobody took is lost when a bucket that keeps `capacity` tokens would have lost it; these milliseconds later, for the way it has come. */
const GRACE_MS = 100;

/** A question that is not answered within so many milliseconds is asked again. */
const ANSWER_MS = 5_000;

/** The longest delay that `setTimeout` honours, in milliseconds. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * A {@linkcode TokenBucket} that any number of processes on any number of hosts share, through a row in a database. Together they take no more than one
 * bucket would: at most `capacity + rate × (T + 0.1 s)` in any time T, and what a
 * slow network holds up.
 *
 * It books tokens shortly before they are due, as many as it is likely to use, so the database sees at most five short questions a second of each
 * process, and none while nobody asks for tokens. A process that ends or dies loses what it had booked, less than half a second's worth or one take's (to
 * give it back would mint, where others have booked since), and never mints. With the
 * database away there are no tokens; those who wait keep their place, and go on by themselves when it is back.
 *
 * @example See {@linkcode TokenStore}; its implementation in `@pixl/core/database` shows both together.
 */
export class SharedTokenBucket implements RateLimiter, AsyncDisposable {
  readonly #store: TokenStore;
  readonly #clock: () => number;
  readonly #random: () => number;
  readonly #waiters = new WaiterList();
  readonly #booked = new BookedTokens();
  readonly #closing = new AbortController();
  #rate = 0;
  #capacity = 1;
  #version: number | undefined;
  /** When the first token is due that nobody has booked, as far as is known. */
  #nextDue = 0;
  #askedAt = -Infinity;
  /** Time between two questions if tokens run short. */
  #shortMs = SHORT_MS;
  /** When the newest answer was asked for: what was long on its way may be void already. */
  #knownAt = -Infinity;
  #asking: Promise<void> | undefined;
  #failures = 0;
  #horizonMs = HORIZON_MS;
  /** Tokens given out since the last question. */
  #used = 0;
  /** Tokens that `tryTake` did not get since then. */
  #missed = 0;
  #askTimer: ReturnType<typeof setTimeout> | undefined;
  #serveTimer: ReturnType<typeof setTimeout> | undefined;

  private constructor(store: TokenStore, options: SharedTokenBucketOptions) {
    this.#store = store;
    this.#clock = options.clock ?? (() => performance.now());
    this.#random = options.random ?? Math.random;
  }

  /**
   * Opens the bucket, after a first look at the store.
   *
   * @param store Where the tokens are. The caller closes its database, after the bucket.
   * @param options A signal and, for tests, time and chance.
   * @returns Close it when done: those who wait are then refused.
   * @throws What the store throws.
   */
  static async open(store: TokenStore, options: SharedTokenBucketOptions = {}): Promise<SharedTokenBucket> {
    const bucket = new SharedTokenBucket(store, options);
    await bucket.#ask(options.signal);
    // The first who wants a token need not wait for the next question.
    bucket.#askedAt = -Infinity;
    return bucket;
  }

  /** Tokens earned a second, by all together, as far as is known. */
  get rate(): number {
    return this.#rate;
  }

  /** Most tokens kept, for all together. */
  get capacity(): number {
    return this.#capacity;
  }

  /** Tokens that this process has now. The others, and the database, may have more. */
  get tokens(): number {
    const now = this.#clock();
    this.#loseOld(now);
    return this.#booked.ready(now);
  }

  /** How many calls of {@linkcode take} wait in this process. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /**
   * Changes the rate for all who share it, within a second, and for good.
   *
   * @param rate Tokens a second; 0 pauses: nothing is earned or given out, those who wait keep their place.
   * @returns Resolves when the store has it.
   * @throws {RangeError} If it is not a finite number of at least 0.
   * @throws What the store throws.
   */
  async setRate(rate: number): Promise<void> {
    await this.#store.set({ rate: checkRate(rate) });
    await this.#refresh();
  }

  /**
   * Changes the capacity for all who share it. Tokens above it are lost; those who wait for more than it get a `RangeError`.
   *
   * @param capacity A whole number of at least 1.
   * @returns Resolves when the store has it.
   * @throws {RangeError} If it is anything else.
   * @throws What the store throws.
   */
  async setCapacity(capacity: number): Promise<void> {
    await this.#store.set({ capacity: checkCapacity(capacity) });
    await this.#refresh();
  }

  /**
   * Takes tokens if this process has them and nobody waits. If not, it books some for the next call, which should come soon: they are kept no longer
   * than the bucket would keep them.
   *
   * @param n How many. @default {1}
   * @returns Whether they were taken.
   * @throws {RangeError} If `n` is no whole number from 1 to the capacity.
   */
  tryTake(n = 1): boolean {
    checkTokens(n, this.#capacity);
    const taken = this.#waiters.size === 0 && this.#spend(n, this.#clock());
    if (!taken) this.#missed = Math.max(this.#missed, n);
    this.#plan();
    return taken;
  }

  /**
   * Waits its turn, then takes tokens.
   *
   * @param n How many. @default {1}
   * @param options A signal and the longest wait.
   * @throws {RangeError} If `n` is no whole number from 1 to the capacity, or `maxWaitMs` is negative.
   * @throws {RateLimitTimeoutError} If they cannot be had within `maxWaitMs`: at once if that is known, otherwise when it becomes so or is over.
   */
  take(n = 1, options: TakeOptions = {}): Promise<void> {
    try {
      checkTokens(n, this.#capacity);
      const maxWaitMs = checkMaxWait(options.maxWaitMs ?? Infinity);
      options.signal?.throwIfAborted();
      this.#closing.signal.throwIfAborted();
      const now = this.#clock();
      if (this.#waiters.size === 0 && this.#spend(n, now)) {
        this.#plan();
        return Promise.resolve();
      }
      const needed = this.#timeFor(this.#waiters.wanted + n, now);
      if (needed > maxWaitMs) throw new RateLimitTimeoutError(maxWaitMs, needed);
      const taken = this.#waiters.add(n, now, maxWaitMs, options.signal, () => this.#serve());
      if (this.#waiters.size === 1 || maxWaitMs < Infinity) this.#serve();
      else this.#plan();
      return taken;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * How long until {@linkcode tryTake} would be true if nobody else asked, in this process or another, as far as is known.
   *
   * @param n How many tokens. @default {1}
   * @returns Milliseconds; `Infinity` at rate 0.
   * @throws {RangeError} If `n` is no whole number from 1 to the capacity.
   */
  timeUntil(n = 1): number {
    checkTokens(n, this.#capacity);
    const now = this.#clock();
    this.#loseOld(now);
    return this.#timeFor(this.#waiters.wanted + n, now);
  }

  /**
   * Gives back tokens that were taken and not used. What the bucket would have lost meanwhile is lost.
   *
   * @param n How many. @default {1}
   * @throws {RangeError} If `n` is no whole number from 1 to the capacity.
   */
  refund(n = 1): void {
    checkTokens(n, this.#capacity);
    this.#loseOld(this.#clock());
    this.#booked.giveBack(n);
    this.#used = Math.max(0, this.#used - n);
    this.#serve();
  }

  /** Refuses those who wait, with an `AbortError`, and asks no more. What was booked and not used is lost. */
  async [Symbol.asyncDispose](): Promise<void> {
    const reason = new DOMException("The bucket was closed", "AbortError");
    this.#closing.abort(reason);
    clearTimeout(this.#askTimer);
    clearTimeout(this.#serveTimer);
    this.#waiters.refuseIf(() => reason);
    await this.#asking;
  }

  #spend(n: number, now: number): boolean {
    this.#loseOld(now);
    if (this.#booked.ready(now) < n) return false;
    this.#booked.take(n);
    this.#used += n;
    return true;
  }

  /** Forgets tokens that are too old, and all if nothing was heard for too long. */
  #loseOld(now: number): void {
    const kept = this.#rate === 0 ? 0 : (this.#capacity - 1) * 1_000 / this.#rate + GRACE_MS;
    this.#booked.loseBefore(now - this.#knownAt > LEASE_MS ? Infinity : now - kept);
  }

  #timeFor(n: number, now: number): number {
    if (this.#rate === 0) return Infinity;
    const due = this.#booked.dueAt(n) ?? this.#nextDue + (n - this.#booked.count - 1) * 1_000 / this.#rate;
    return Math.max(0, due - now);
  }

  /** Serves whose turn it is and has tokens, then sets the timer for the next. */
  #serve(): void {
    clearTimeout(this.#serveTimer);
    this.#serveTimer = undefined;
    const now = this.#clock();
    let next = this.#waiters.first;
    for (; next !== undefined && this.#spend(next.n, now); next = this.#waiters.first) this.#waiters.grant(next);
    this.#refuseLate(now);
    next = this.#waiters.first;
    const due = next === undefined ? Infinity : this.#booked.dueAt(next.n) ?? Infinity;
    const until = Math.min(due, this.#waiters.nextDeadline);
    if (until < Infinity) {
      this.#serveTimer = setTimeout(() => this.#serve(), Math.min(Math.ceil(until - now), LONGEST_TIMER_MS));
    }
    this.#plan();
  }

  /** Sets the timer for the next question, if there is any to ask. */
  #plan(): void {
    clearTimeout(this.#askTimer);
    this.#askTimer = undefined;
    if (this.#asking !== undefined || this.#closing.signal.aborted) return;
    const now = this.#clock();
    this.#loseOld(now);
    // What is booked is void without news of the rate.
    if (this.#waiters.size === 0 && this.#missed === 0 && this.#booked.count === 0) return;
    let at = this.#askedAt + this.#shortMs;
    if (this.#failures > 0) at = this.#askedAt + Math.min(this.#shortMs * 2 ** this.#failures, LEASE_MS);
    else if (this.#shortage(now) === 0) at = this.#askedAt + LONG_MS;
    else if (this.#rate === 0 || this.#nextDue > at + HORIZON_MS) {
      at = Math.min(this.#askedAt + LONG_MS, Math.max(at, this.#nextDue - HORIZON_MS));
    }
    if (at <= now) this.#askAndServe();
    else this.#askTimer = setTimeout(() => this.#askAndServe(), Math.ceil(at - now));
  }

  /** Tokens to book: for those who wait and, while somebody does, as many as were used lately; twice as many if nothing is booked. */
  #shortage(now: number): number {
    const elapsed = Math.max(now - this.#askedAt, SHORT_MS);
    const usual = this.#waiters.size === 0
      ? 0
      : Math.ceil(this.#used * HORIZON_MS / elapsed) * (this.#booked.count === 0 ? 2 : 1);
    return Math.max(0, this.#waiters.wanted + this.#missed + usual - this.#booked.count);
  }

  #askAndServe(): void {
    clearTimeout(this.#askTimer);
    this.#asking = this.#ask(this.#closing.signal).then(
      () => {
        if (this.#failures > 0) log.info("The shared rate can be read again");
        this.#failures = 0;
      },
      (error) => {
        if (this.#closing.signal.aborted) return;
        this.#failures += 1;
        if (this.#failures > 1) return;
        const code = error instanceof PixlError ? error.code : error instanceof Error ? error.name : "unknown";
        log.warn("The shared rate cannot be read ({code}): no tokens until it can", { code });
      },
    ).finally(() => {
      this.#asking = undefined;
      if (!this.#closing.signal.aborted) this.#serve();
    });
  }

  /** Sees at once what was set, whether or not a question is under way that may have come before. */
  async #refresh(): Promise<void> {
    while (this.#asking !== undefined) await this.#asking;
    if (this.#closing.signal.aborted) return;
    this.#askAndServe();
    await this.#asking;
  }

  async #ask(signal?: AbortSignal): Promise<void> {
    const asked = this.#clock();
    this.#loseOld(asked);
    const wanted = this.#shortage(asked);
    this.#askedAt = asked;
    this.#shortMs = SHORT_MS * (0.8 + 0.4 * this.#random());
    this.#used = 0;
    this.#missed = 0;
    const least = Math.min(wanted, this.#waiters.first?.n ?? 1);
    const request = { wanted, least, horizonMs: this.#horizonMs };
    const options = signal === undefined ? {} : { signal };
    const booking = await deadline(this.#store.book(request, options), ANSWER_MS, options);
    this.#accept(booking, asked);
  }

  #accept({ rate, capacity, version, count, firstDueMs, nextDueMs }: Booking, asked: number): void {
    const now = this.#clock();
    if (this.#version === undefined || version > this.#version) {
      this.#booked.loseAfter(now);
      if (this.#version !== undefined) log.info("The rate is {rate} a second from now on", { rate });
      this.#version = version;
      this.#waiters.refuseIf(({ n }) => n > capacity ? tooMany(n, capacity) : undefined);
    }
    this.#rate = rate;
    this.#capacity = capacity;
    this.#knownAt = asked;
    this.#horizonMs = count > 0 ? MODEST_HORIZON_MS : HORIZON_MS;
    this.#nextDue = now + nextDueMs;
    this.#booked.add(now + firstDueMs, 1_000 / rate, count);
  }

  /** Lets those go who cannot be served in time: as far as is known, or because it is over. */
  #refuseLate(now: number): void {
    this.#waiters.refuseLate(({ n, deadline, maxWaitMs }, ahead) => {
      const needed = this.#timeFor(ahead + n, now);
      const known = this.#failures === 0 && this.#asking === undefined;
      return now >= deadline || (known && now + needed > deadline)
        ? new RateLimitTimeoutError(maxWaitMs, needed)
        : undefined;
    });
  }
}
