import { add, multiply } from "./exact_sum.ts";

/** Thousandths of a token earned between two exact settlements, so that what is rounded meanwhile stays below 1e-9 tokens. */
const LONGEST_STRETCH = 2 ** 30;

/**
 * How many tokens there are, as time goes by: earned at a rate, kept up to a capacity, spent. Counts in thousandths of a token, because
 * milliseconds × tokens a second are just that.
 *
 * The level is computed from a settled point (time, level), not added up call by call: additions of fractions lose some bits each time, and a
 * billion of them would be off by whole tokens. Where the point must move, the move is exact to about 1e-30.
 */
export class TokenLevel {
  #rate: number;
  #full: number;
  /** The settled point: when, and how much there was, in two parts of which the second is what the first cannot hold. */
  #since: number;
  #base: number;
  #rest = 0;
  /** Tokens spent since then. */
  #spent = 0;
  /** The newest time seen, and the level then less what was spent since. */
  #seen: number;
  #left: number;

  /** @param rate Tokens a second. @param capacity Most tokens kept. @param tokens Tokens now. @param now Milliseconds. */
  constructor(rate: number, capacity: number, tokens: number, now: number) {
    this.#rate = rate;
    this.#full = capacity * 1_000;
    this.#base = tokens * 1_000;
    this.#since = now;
    this.#seen = now;
    this.#left = this.#base;
  }

  /** Tokens a second. */
  get rate(): number {
    return this.#rate;
  }

  /**
   * Whether so many thousandths of a token are there, without a look at the clock, if the last one is less than a millisecond ago: they were there
   * then, and what was earned since does not reach the capacity, where some would be lost.
   */
  surelyHas(thousandths: number): boolean {
    return this.#left >= thousandths && this.#left + this.#rate <= this.#full;
  }

  /** Thousandths of a token that there are at a time. A clock that went back earns nothing until it goes on; it keeps what was seen. */
  at(now: number): number {
    if (now < this.#seen) {
      this.#settle(this.#seen);
      this.#since = now;
    }
    this.#seen = now;
    const earned = (now - this.#since) * this.#rate;
    const level = this.#base + (earned - this.#spent * 1_000);
    if (level >= this.#full) {
      this.#since = now;
      this.#base = this.#full;
      this.#rest = 0;
      this.#spent = 0;
      return this.#left = this.#full;
    }
    if (earned > LONGEST_STRETCH) this.#settle(now);
    return this.#left = level;
  }

  /** Takes tokens. Whether they are there is the caller's business. */
  spend(n: number): void {
    this.#spent += n;
    this.#left -= n * 1_000;
  }

  /** Gives tokens back; what would be above the capacity is lost. */
  giveBack(n: number, now: number): void {
    this.at(now);
    this.#spent -= n;
    this.at(now);
  }

  /** Earns at another rate from now on. */
  setRate(rate: number, now: number): void {
    this.at(now);
    this.#settle(now);
    this.#rate = rate;
  }

  /** Keeps that many at most from now on; what there is above is lost. */
  setCapacity(capacity: number, now: number): void {
    this.at(now);
    this.#full = capacity * 1_000;
    this.at(now);
  }

  #settle(now: number): void {
    const elapsed = add(now, -this.#since);
    const earned = multiply(elapsed.sum, this.#rate);
    const gain = add(earned.product, -this.#spent * 1_000);
    const level = add(this.#base, gain.sum);
    const rest = this.#rest + elapsed.rest * this.#rate + earned.rest + gain.rest + level.rest;
    const whole = add(level.sum, rest);
    this.#base = whole.sum;
    this.#rest = whole.rest;
    this.#spent = 0;
    this.#since = now;
  }
}
