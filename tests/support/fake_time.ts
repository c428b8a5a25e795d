/**
 * Time that moves only when told to: replaces `setTimeout`, `clearTimeout` and serves as a clock. Put back at the end of the scope.
 */
export class FakeTime implements Disposable {
  #now = 0;
  #nextId = 1;
  readonly #timers = new Map<number, { at: number; run: () => void }>();
  readonly #real = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout };

  constructor() {
    const set = (run: () => void, ms = 0) => {
      const id = this.#nextId++;
      this.#timers.set(id, { at: this.#now + ms, run });
      return id;
    };
    const clear = (id?: number) => void this.#timers.delete(id ?? 0);
    Object.assign(globalThis, { setTimeout: set, clearTimeout: clear });
  }

  /** Milliseconds since the start, for whoever takes a clock. */
  readonly clock = (): number => this.#now;

  /** How many timers are set. */
  get timers(): number {
    return this.#timers.size;
  }

  /** Moves on, running each timer when it is due and letting promises settle after each. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end).sort((a, b) => a[1].at - b[1].at)[0];
      if (due === undefined) break;
      const [id, timer] = due;
      this.#timers.delete(id);
      this.#now = Math.max(this.#now, timer.at);
      timer.run();
      await settle();
    }
    this.#now = end;
  }

  /** Moves the clock only, as a clock that is set does. */
  jump(ms: number): void {
    this.#now += ms;
  }

  [Symbol.dispose](): void {
    Object.assign(globalThis, this.#real);
  }
}

async function settle(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve();
}
