/** How long a `take()` may wait. */
export interface TakeOptions {
  /** Ends the wait without taking: the promise rejects with its reason. */
  readonly signal?: AbortSignal;
  /** Rejects at once if the tokens cannot be had within so many milliseconds. @default {Infinity} */
  readonly maxWaitMs?: number;
}

/** What {@linkcode TokenBucket} and {@linkcode SharedTokenBucket} have in common. */
export interface RateLimiter {
  /** Tokens earned a second. */
  readonly rate: number;
  /** Most tokens kept, and so the largest burst. */
  readonly capacity: number;
  /** Tokens there are now. */
  readonly tokens: number;
  /** How many calls of `take()` wait. */
  readonly waiting: number;
  /** Changes the rate, for those who wait too. @param rate Tokens a second; 0 pauses. */
  setRate(rate: number): void | Promise<void>;
  /** Changes the capacity. @param capacity A whole number of at least 1. */
  setCapacity(capacity: number): void | Promise<void>;
  /** Takes tokens if they are there and nobody waits. @param n How many. @returns Whether they were taken. */
  tryTake(n?: number): boolean;
  /** Waits its turn, then takes tokens. @param n How many. @param options A signal and the longest wait. */
  take(n?: number, options?: TakeOptions): Promise<void>;
  /** How long until `tryTake()` would be true if nobody else asked. @param n How many. @returns Milliseconds; `Infinity` at rate 0. */
  timeUntil(n?: number): number;
  /** Gives back tokens that were taken and not used. @param n How many. */
  refund(n?: number): void;
}
