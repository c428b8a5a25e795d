/** One `take()` that waits its turn. */
export interface Waiter {
  /** Tokens wanted. */
  readonly n: number;
  /** Clock time after which it no longer wants them; `Infinity` for never. */
  readonly deadline: number;
  grant(): void;
  refuse(reason: unknown): void;
}

interface Node {
  readonly waiter: Waiter;
  previous: Node | undefined;
  next: Node | undefined;
}

/** Waiters in order of arrival. Adding and removing at any place cost the same however many wait. */
export class WaiterList {
  #first: Node | undefined;
  #last: Node | undefined;
  #size = 0;
  #wanted = 0;

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
    return this.#first?.waiter;
  }

  /** Adds one at the end. @returns A function that takes it out again; calling it twice is harmless. */
  add(waiter: Waiter): () => void {
    const node: Node = { waiter, previous: this.#last, next: undefined };
    if (this.#last === undefined) this.#first = node;
    else this.#last.next = node;
    this.#last = node;
    this.#size += 1;
    this.#wanted += waiter.n;
    let present = true;
    return () => {
      if (present) this.#unlink(node);
      present = false;
    };
  }

  /** Every waiter in order; each may be removed while it is visited. */
  *[Symbol.iterator](): IterableIterator<Waiter> {
    let node = this.#first;
    while (node !== undefined) {
      const next: Node | undefined = node.next;
      yield node.waiter;
      node = next;
    }
  }

  #unlink(node: Node): void {
    if (node.previous === undefined) this.#first = node.next;
    else node.previous.next = node.next;
    if (node.next === undefined) this.#last = node.previous;
    else node.next.previous = node.previous;
    this.#size -= 1;
    this.#wanted -= node.waiter.n;
  }
}
