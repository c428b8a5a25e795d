import type { Abortable } from "../broker.ts";

/** Limits what is on its way to the broker, by number and by bytes. Entered in order. */
export class Window {
  readonly #maxCount: number;
  readonly #maxBytes: number;
  readonly #waiting = new Set<{ readonly bytes: number; readonly enter: () => void }>();
  #count = 0;
  #bytes = 0;

  /** @param maxCount Most messages. @param maxBytes Most bytes; a longer message goes alone. */
  constructor(maxCount: number, maxBytes: number) {
    this.#maxCount = maxCount;
    this.#maxBytes = maxBytes;
  }

  /**
   * Enters if there is room and nobody waits.
   *
   * @param bytes The message's length.
   * @returns Whether it entered.
   */
  tryEnter(bytes: number): boolean {
    if (this.#waiting.size > 0 || !this.#fits(bytes)) return false;
    this.#enter(bytes);
    return true;
  }

  /** Waits its turn. @param bytes The message's length. @throws The signal's reason; then it has not entered. */
  enter(bytes: number, { signal }: Abortable = {}): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.tryEnter(bytes)) return Promise.resolve();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = () => {
      this.#waiting.delete(place);
      reject(signal?.reason);
      this.#admit();
    };
    const place = {
      bytes,
      enter: () => {
        signal?.removeEventListener("abort", abort);
        resolve();
      },
    };
    this.#waiting.add(place);
    signal?.addEventListener("abort", abort, { once: true });
    return promise;
  }

  /** @param bytes As entered. */
  leave(bytes: number): void {
    this.#count--;
    this.#bytes -= bytes;
    this.#admit();
  }

  #admit(): void {
    for (const place of this.#waiting) {
      if (!this.#fits(place.bytes)) return;
      this.#waiting.delete(place);
      this.#enter(place.bytes);
      place.enter();
    }
  }

  #enter(bytes: number): void {
    this.#count++;
    this.#bytes += bytes;
  }

  #fits(bytes: number): boolean {
    return this.#count === 0 || (this.#count < this.#maxCount && this.#bytes + bytes <= this.#maxBytes);
  }
}
