import {
  type Abortable,
  type Broker,
  type Delivery,
  encodeMessage,
  messageId,
  type QueueDepth,
  type StudyMessage,
  type Subscription,
} from "@pixl/core/queue";

/** A study message; fields can be replaced. */
export function study(change: Partial<StudyMessage> = {}): StudyMessage {
  return {
    mrn: "MRNSEED0001",
    accession_number: "ACCSEED0001",
    study_date: "2020-05-23",
    procedure_occurrence_id: 4,
    project_name: "test-project",
    extract_generated_timestamp: "2023-12-07T14:08:58",
    ...change,
  };
}

interface Entry {
  readonly body: Uint8Array;
  readonly id: string;
  attempt: number;
}

/** A broker in memory that writes down what a consumer does, for rules that a real broker would only show slowly. */
export class ScriptedBroker implements Broker {
  /** What was done with messages, in order: `done`, `retry 1000`, `requeue 5000`, `dead: reason`, `release`. */
  readonly log: string[] = [];
  /** The error classes of the dead letters. */
  readonly errorClasses: (string | undefined)[] = [];
  /** Messages that wait. */
  readonly ready: Entry[] = [];
  /** How many retries are refused, as by a broker that does not confirm the copy. */
  refusedRetries = 0;
  /** Aborting it loses every message in hand. */
  readonly lost = new AbortController();
  #inHand = 0;
  readonly #waiting: (() => void)[] = [];

  /** Puts messages on the queue. */
  add(...bodies: (StudyMessage | Uint8Array)[]): void {
    for (const body of bodies) {
      const raw = body instanceof Uint8Array;
      this.ready.push({ body: raw ? body : encodeMessage(body), id: raw ? "raw" : messageId(body), attempt: 1 });
    }
    for (const wake of this.#waiting.splice(0)) wake();
  }

  declare(): Promise<void> {
    return Promise.resolve();
  }

  publish(): Promise<number> {
    return Promise.resolve(0);
  }

  subscribe(): Promise<Subscription> {
    return Promise.resolve({
      next: (options) => this.#next(options),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  }

  depth(): Promise<QueueDepth> {
    return Promise.resolve({ ready: this.ready.length, delayed: 0, inHand: this.#inHand, dead: 0, consumers: 1 });
  }

  age(): Promise<number | undefined> {
    return Promise.resolve(undefined);
  }

  walk(): Promise<number> {
    return Promise.resolve(0);
  }

  purge(): Promise<number> {
    return Promise.resolve(0);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  async #next({ signal }: Abortable = {}): Promise<Delivery> {
    for (;;) {
      signal?.throwIfAborted();
      const entry = this.ready.shift();
      if (entry !== undefined) return this.#deliver(entry);
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const abort = () => reject(signal?.reason);
      this.#waiting.push(resolve);
      signal?.addEventListener("abort", abort, { once: true });
      try {
        await promise;
      } finally {
        signal?.removeEventListener("abort", abort);
      }
    }
  }

  #deliver(entry: Entry): Delivery {
    this.#inHand += 1;
    const answer = (what: string, back?: { attempt: number }) => {
      this.#inHand -= 1;
      this.log.push(what);
      if (back !== undefined) {
        entry.attempt = back.attempt;
        this.ready.push(entry);
        for (const wake of this.#waiting.splice(0)) wake();
      }
      return Promise.resolve();
    };
    return {
      messageId: entry.id,
      body: entry.body,
      attempt: entry.attempt,
      lost: this.lost.signal,
      acknowledge: async (effect) => {
        await effect?.();
        await answer("done");
      },
      release: () => this.lost.signal.aborted ? Promise.reject(this.lost.signal.reason) : answer("release", entry),
      requeue: (ms) => answer(`requeue ${ms}`, { attempt: entry.attempt }),
      retry: (ms) => {
        if (this.refusedRetries-- > 0) return Promise.reject(new Error("not confirmed"));
        return answer(`retry ${ms}`, { attempt: entry.attempt + 1 });
      },
      deadLetter: (reason, errorClass) => {
        this.errorClasses.push(errorClass);
        return answer(`dead: ${reason}`);
      },
    };
  }
}
