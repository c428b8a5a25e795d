/** One `take()` that waits its turn. Small, since a hundred thousand may wait. */
export class Waiter {
  /** Tokens wanted. */
  readonly n: number;
  /** Clock time after which it no longer wants them; `Infinity` for never. */
  readonly deadline: number;
  /** The wait that was allowed, for the error's text. */
  readonly maxWaitMs: number;
  /** Settles the promise of its `take()`. To reject, it is resolved with a rejected promise: keeping `reject` too would cost a quarter more memory. */
  readonly settle: (value: void | Promise<void>) => void;
  /** Those who leave at the same signal, itself among them. */
  group: Group | undefined = undefined;
  /** Who waits before it. */
  previous: Waiter | undefined = undefined;
  /** Who waits after it. */
  next: Waiter | undefined = undefined;

  constructor(n: number, now: number, maxWaitMs: number, settle: (value: void | Promise<void>) => void) {
    this.n = n;
    this.deadline = now + maxWaitMs;
    this.maxWaitMs = maxWaitMs;
    this.settle = settle;
  }
}

/** Those who leave at a signal. A signal with a listener for each would search them all whenever one is served. */
interface Group {
  readonly members: Set<Waiter>;
  /** Stops listening. */
  readonly end: () => void;
}

/** Waiters in order of arrival. Adding and removing at any place cost the same however many wait. */
export class WaiterList {
  #last: Waiter | undefined;
  #first: Waiter | undefined;
  #size = 0;
  #wanted = 0;
  #hurried = 0;
  readonly #groups = new Map<AbortSignal, Group>();

  /** How many wait. */
  get size(): number {
    return this.#size;
  }

  /** Tokens wanted by all together. */
  get wanted(): number {
    return this.#wanted;
  }

  /** Whose turn it is. */
  get first(): Waiter | undefined {
    return this.#first;
  }

  /**
   * Adds one at the end.
   *
   * @param n Tokens wanted.
   * @param now The clock's time.
   * @param maxWaitMs The wait that is allowed.
   * @param signal Takes it out and rejects its promise with the reason.
   * @param onFirstLeft Called when it left that way and it was its turn, so that the next has the tokens that are there.
   * @returns Resolves when it is granted.
   */
  add(
    n: number,
    now: number,
    maxWaitMs: number,
    signal: AbortSignal | undefined,
    onFirstLeft: () => void,
  ): Promise<void> {
    return new Promise((resolve) => {
      const waiter = new Waiter(n, now, maxWaitMs, resolve);
      if (this.#last === undefined) this.#first = waiter;
      else {
        this.#last.next = waiter;
        waiter.previous = this.#last;
      }
      this.#last = waiter;
      this.#size += 1;
      this.#wanted += n;
      if (maxWaitMs < Infinity) this.#hurried += 1;
      if (signal === undefined) return;
      waiter.group = this.#groups.get(signal) ?? this.#listen(signal, onFirstLeft);
      waiter.group.members.add(waiter);
    });
  }

  #listen(signal: AbortSignal, onFirstLeft: () => void): Group {
    const abort = () => {
      const first = this.#first;
      for (const waiter of group.members) this.refuse(waiter, signal.reason);
      if (this.#first !== first) onFirstLeft();
    };
    const group = {
      members: new Set<Waiter>(),
      end: () => {
        this.#groups.delete(signal);
        signal.removeEventListener("abort", abort);
      },
    };
    this.#groups.set(signal, group);
    signal.addEventListener("abort", abort);
    return group;
  }

  /** Takes one out: it has its tokens. */
  grant(waiter: Waiter): void {
    this.#remove(waiter);
    waiter.settle();
  }

  /** Takes one out: it gets none. */
  refuse(waiter: Waiter, reason: unknown): void {
    this.#remove(waiter);
    waiter.settle(Promise.reject(reason));
  }

  /** Takes out those for whom there is a reason; they are asked in order, with the tokens wanted by those who stay before them. */
  refuseIf(reasonFor: (waiter: Waiter, ahead: number) => Error | undefined): void {
    let ahead = 0;
    for (let waiter = this.#first; waiter !== undefined;) {
      const { next }: Waiter = waiter;
      const reason = reasonFor(waiter, ahead);
      if (reason === undefined) ahead += waiter.n;
      else this.refuse(waiter, reason);
      waiter = next;
    }
  }

  /** The same for those alone who have a deadline; costs nothing if nobody has. */
  refuseLate(reasonFor: (waiter: Waiter, ahead: number) => Error | undefined): void {
    if (this.#hurried === 0) return;
    this.refuseIf((waiter, ahead) => waiter.deadline < Infinity ? reasonFor(waiter, ahead) : undefined);
  }

  /** When the first wait is over; `Infinity` if none ever is. */
  get nextDeadline(): number {
    let next = Infinity;
    if (this.#hurried === 0) return next;
    for (let waiter = this.#first; waiter !== undefined; waiter = waiter.next) next = Math.min(next, waiter.deadline);
    return next;
  }

  #remove(waiter: Waiter): void {
    const { previous, next } = waiter;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    this.#size -= 1;
    this.#wanted -= waiter.n;
    if (waiter.deadline < Infinity) this.#hurried -= 1;
    const { group } = waiter;
    if (group?.members.delete(waiter) && group.members.size === 0) group.end();
  }
}
