/** Times in ascending order, of which the first go away. */
class Times {
  #times: number[] = [];
  /** Those before it are gone; they are cut off now and then. */
  #first = 0;

  get count(): number {
    return this.#times.length - this.#first;
  }

  /** The one with that number, from 0. */
  at(n: number): number | undefined {
    return this.#times[this.#first + n];
  }

  add(time: number): void {
    const last = this.#times.at(-1);
    this.#times.push(time);
    if (last === undefined || last <= time) return;
    this.#times = this.#times.slice(this.#first).sort((a, b) => a - b);
    this.#first = 0;
  }

  shift(): number | undefined {
    if (this.count === 0) return undefined;
    const time = this.#times[this.#first++];
    if (this.#first > 1_000 && this.#first > this.#times.length / 2) {
      this.#times = this.#times.slice(this.#first);
      this.#first = 0;
    }
    return time;
  }

  keepFirst(n: number): void {
    this.#times.length = this.#first + n;
  }
}

/** Tokens that this process has booked, in the order in which they are due. Times are the clock's milliseconds. */
export class BookedTokens {
  readonly #due = new Times();
  /** Those that were given out, as long as they can be given back. */
  readonly #taken = new Times();

  /** How many, due or not. */
  get count(): number {
    return this.#due.count;
  }

  /** When the token number `n` is due, from 1; `undefined` if there are fewer. */
  dueAt(n: number): number | undefined {
    return this.#due.at(n - 1);
  }

  /** How many are due. */
  ready(now: number): number {
    let [low, high] = [0, this.#due.count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#due.at(middle) ?? Infinity) <= now) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Adds some, a fixed time apart. */
  add(firstDue: number, stepMs: number, count: number): void {
    for (let i = 0; i < count; i++) this.#due.add(firstDue + i * stepMs);
  }

  /** Takes the first. */
  take(n: number): void {
    for (let i = 0; i < n; i++) this.#taken.add(this.#due.shift() ?? -Infinity);
  }

  /** Gives back tokens that were not used, of those taken that are not lost yet. Which it was is not known: the oldest, since it is lost first. */
  giveBack(n: number): void {
    for (let i = Math.min(n, this.#taken.count); i > 0; i--) this.#due.add(this.#taken.shift() ?? -Infinity);
  }

  /** Forgets those that were due before a time: they are lost. */
  loseBefore(time: number): void {
    for (const times of [this.#due, this.#taken]) {
      while ((times.at(0) ?? Infinity) < time) times.shift();
    }
  }

  /** Forgets those that are not due yet. */
  loseAfter(now: number): void {
    this.#due.keepFirst(this.ready(now));
  }
}
