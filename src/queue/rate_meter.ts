/** Counts over the last minute, second by second. */
export class RateMeter {
  readonly #seconds = new Array<number>(60).fill(0);
  readonly #start: number;
  #second: number;

  /** @param now The time, in milliseconds. */
  constructor(now: number) {
    this.#start = now;
    this.#second = Math.floor(now / 1_000);
  }

  /** Counts one. @param now The time, in milliseconds; never earlier than before. */
  count(now: number): void {
    this.#forget(now);
    const at = this.#second % 60;
    this.#seconds[at] = (this.#seconds[at] ?? 0) + 1;
  }

  /** @param now The time, in milliseconds. @returns Counts a second, over the last minute or since the start; at least a second. */
  perSecond(now: number): number {
    this.#forget(now);
    const counted = this.#seconds.reduce((sum, some) => sum + some, 0);
    return counted / Math.min(Math.max((now - this.#start) / 1_000, 1), 60);
  }

  #forget(now: number): void {
    const second = Math.floor(now / 1_000);
    for (let past = Math.max(this.#second + 1, second - 59); past <= second; past++) this.#seconds[past % 60] = 0;
    this.#second = second;
  }
}
