import type { Booking, BookingRequest, RateChange, TokenStore } from "@pixl/core/rate-limiter";

/** A store in memory that is as slow, or as far away, as a test wants. The real one is tested with the database. */
export class ModelStore implements TokenStore {
  rate: number;
  capacity: number;
  /** How many questions there were. */
  asked = 0;
  away = false;
  hangs = false;
  /** Time that an answer takes on its way back, in milliseconds. */
  delayMs = 0;
  #version = 0;
  #tokens = 1;
  /** Ahead of now while tokens are booked that are not earned yet. */
  #settledAt: number;
  readonly #clock: () => number;

  constructor(clock: () => number, rate: number, capacity: number) {
    this.#clock = clock;
    this.#settledAt = clock();
    this.rate = rate;
    this.capacity = capacity;
  }

  async book({ wanted, least, horizonMs }: BookingRequest): Promise<Booking> {
    this.asked += 1;
    if (this.away) throw new Error("away");
    if (this.hangs) await new Promise(() => {});
    this.#settle();
    const booking = this.#book(wanted, least, horizonMs);
    if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs));
    return booking;
  }

  set({ rate, capacity }: RateChange): Promise<void> {
    this.#settle();
    this.#settledAt = Math.min(this.#settledAt, this.#clock() + 1_000);
    this.rate = rate ?? this.rate;
    this.capacity = capacity ?? this.capacity;
    this.#tokens = Math.min(this.#tokens, this.capacity);
    this.#version += 1;
    return Promise.resolve();
  }

  #settle(): void {
    const elapsed = this.#clock() - this.#settledAt;
    if (elapsed <= 0) return;
    this.#tokens = Math.min(this.capacity, this.#tokens + elapsed * this.rate / 1_000);
    this.#settledAt = this.#clock();
  }

  #book(wanted: number, least: number, horizonMs: number): Booking {
    const { rate, capacity } = this;
    const [version, ahead, level] = [this.#version, this.#settledAt - this.#clock(), this.#tokens];
    if (rate === 0) return { rate, capacity, version, count: 0, firstDueMs: 0, nextDueMs: Infinity };
    const step = 1_000 / rate;
    let count = Math.max(0, Math.min(wanted, Math.floor(level + (horizonMs - ahead) / step + 1e-9)));
    if (count > 0) count = Math.max(count, Math.min(least, capacity));
    this.#settledAt += Math.max(0, count - level) * step;
    this.#tokens = Math.max(0, level - count);
    return {
      rate,
      capacity,
      version,
      count,
      firstDueMs: ahead + (1 - level) * step,
      nextDueMs: this.#settledAt - this.#clock() + (1 - this.#tokens) * step,
    };
  }
}
