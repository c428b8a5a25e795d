/** A destination that received a file so long ago serves others, also if these are between two files just now, in milliseconds. */
const LATELY_MS = 10_000;

/** One attempt to send a file. */
export interface Attempt {
  /** They begin in this order. */
  readonly number: number;
  /** Whether bytes went out. */
  readonly moved: boolean;
  /** Bytes went out; not heard of after the end, as a stream may read on for a moment. */
  moves(): void;
  /** It is over. */
  ends(isReceived: boolean): void;
}

/** The attempts that are going on, to tell a destination that has room for no more of them from one that serves nobody. */
export class Attempts {
  readonly #inHand = new Set<Attempt>();
  readonly #now: () => number;
  #received = -Infinity;
  #count = 0;

  /** @param now Clock in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** One begins. */
  begin(): Attempt {
    const [inHand, received] = [this.#inHand, () => this.#received = this.#now()];
    const attempt = {
      number: this.#count++,
      moved: false,
      moves() {
        if (inHand.has(attempt)) attempt.moved = true;
      },
      ends(isReceived: boolean) {
        inHand.delete(attempt);
        if (isReceived) received();
      },
    };
    inHand.add(attempt);
    return attempt;
  }

  /** Whether none is going on. */
  get areNone(): boolean {
    return this.#inHand.size === 0;
  }

  /** Whether the destination serves anyone. */
  get areServed(): boolean {
    return [...this.#inHand].some(({ moved }) => moved) || this.#now() - this.#received < LATELY_MS;
  }

  /**
   * Whether one that found no room, or was thrown out, may just be one too many. Those that began later do not vouch for one that got in, nor for one that
   * did not unless they got in: so the oldest always counts, and attempts that all fail do not keep one another going for ever.
   */
  vouchFor({ moved, number }: Attempt): boolean {
    const older = [...this.#inHand].filter((other) => other.number < number);
    return moved ? older.some((other) => other.moved) : older.length > 0 || this.areServed;
  }
}
