/** Tokens that this process has booked, in the order in which they are due. Times are the clock's milliseconds. */
export class BookedTokens {
  #due: number[] = [];
  /** Those that were given out, as long as they can be given back. */
  #taken: number[] = [];

  /** How many, due or not. */
  get count(): number {
    return this.#due.length;
  }

  /** When the token number `n` is due; `undefined` if there are fewer. */
  dueAt(n: number): number | undefined {
    return this.#due[n - 1];
  }

  /** How many are due. */
  ready(now: number): number {
    const later = this.#due.findIndex((due) => due > now);
    return later < 0 ? this.#due.length : later;
  }

  /** Adds some, a fixed time apart, behind those there are. */
  add(firstDue: number, stepMs: number, count: number): void {
    for (let i = 0; i < count; i++) this.#due.push(firstDue + i * stepMs);
  }

  /** Takes the first. */
  take(n: number): void {
    this.#taken.push(...this.#due.splice(0, n));
  }

  /**
   * Gives back tokens that were not used, of those taken that are not lost yet. Which of them it was is not known: the oldest, since it is lost first.
   */
  giveBack(n: number): void {
    this.#taken.sort((a, b) => a - b);
    this.#due.unshift(...this.#taken.splice(0, n));
  }

  /** Forgets those that were due before a time: they are lost. */
  loseBefore(time: number): void {
    this.#due = this.#due.filter((due) => due >= time);
    this.#taken = this.#taken.filter((due) => due >= time);
  }

  /** Forgets those that are not due yet. */
  loseAfter(now: number): void {
    this.#due = this.#due.slice(0, this.ready(now));
  }
}
