import { delay } from "@std/async";

/** Places in the shared memory. */
const [NEXT_FREE, RATE] = [0, 1];

/** Longest piece that is sent at once, in bytes; see {@linkcode Pace.pieceBytes}. */
const MAX_PIECE_BYTES = 256 * 1024;

/** Booked further ahead, in microseconds, means that the clock was set back: each takes a quarter of a second at most, also for what was cut off since. */
const MAX_AHEAD_US = 60_000_000n;

/**
 * A limit on bytes a second that all transfers share which are given the same one, in workers too: its state is shared memory.
 *
 * @example
 * ```ts
 * import { Pace } from "@pixl/core/upload";
 * import { assertEquals } from "@std/assert";
 *
 * const pace = new Pace(10_000_000);
 * assertEquals(pace.maxBytesPerSecond, 10_000_000);
 * await pace.take(1_000);
 * ```
 */
export class Pace {
  /** To be handed to a worker, where {@linkcode Pace.of} makes the same pace of it. */
  readonly memory: SharedArrayBuffer;
  readonly #cells: BigInt64Array<SharedArrayBuffer>;

  /** A new limit. @param maxBytesPerSecond A whole number from 1,000 on. @param memory See {@linkcode Pace.of}. @throws {RangeError} If it is not. */
  constructor(maxBytesPerSecond: number, memory?: SharedArrayBuffer) {
    if (!Number.isSafeInteger(maxBytesPerSecond) || maxBytesPerSecond < 1_000) {
      throw new RangeError(
        `Cannot limit the rate as 'maxBytesPerSecond' must be a whole number of at least 1000: current value is ${maxBytesPerSecond}`,
      );
    }
    this.memory = memory ?? new SharedArrayBuffer(16);
    this.#cells = new BigInt64Array(this.memory);
    Atomics.store(this.#cells, RATE, BigInt(maxBytesPerSecond));
  }

  /** The pace whose memory this is. */
  static of(memory: SharedArrayBuffer): Pace {
    return new Pace(Number(Atomics.load(new BigInt64Array(memory), RATE)), memory);
  }

  /** The limit. */
  get maxBytesPerSecond(): number {
    return Number(Atomics.load(this.#cells, RATE));
  }

  /** Bytes to take at once, so that a slow pace is an even one: a quarter of a second's at most. */
  get pieceBytes(): number {
    return Math.min(MAX_PIECE_BYTES, Math.ceil(this.maxBytesPerSecond / 4));
  }

  /**
   * Waits until so many bytes may be sent.
   *
   * @param bytes How many, {@linkcode pieceBytes} at most.
   * @param options `signal`: ends the waiting.
   * @throws {RangeError} If they are more.
   */
  async take(bytes: number, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (bytes > this.pieceBytes) {
      throw new RangeError(`Cannot take ${bytes} bytes at once: take ${this.pieceBytes} at most`);
    }
    // The one clock that all workers share: performance.now() counts from a time of each one's own, which a clock that is set moves between them.
    const now = BigInt(Date.now()) * 1_000n;
    const needed = BigInt(Math.ceil((bytes * 1e6) / this.maxBytesPerSecond));
    for (;;) {
      const free = Atomics.load(this.#cells, NEXT_FREE);
      const start = free > now && free < now + MAX_AHEAD_US ? free : now;
      if (Atomics.compareExchange(this.#cells, NEXT_FREE, free, start + needed) !== free) continue;
      const waitMs = Number(start - now) / 1_000;
      if (waitMs > 0) await delay(waitMs, options);
      return;
    }
  }
}
