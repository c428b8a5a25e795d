import { concat, endsIdle, frame, tailOf } from "./framing.ts";

/** The one session that the connections share: PGlite, or a stand-in. */
export interface Session {
  /** Executes protocol messages; the answer comes in pieces. */
  execute(messages: Uint8Array, answer: (piece: Uint8Array) => void): Promise<void>;
}

/** The hub's side of a connection. */
export interface Member {
  /** Takes a piece of an answer. */
  reply(piece: Uint8Array): void;
  /** The session failed. */
  fail(error: unknown): void;
}

interface Job {
  readonly member: Member;
  readonly messages: Uint8Array;
}

/** Ends what a lost connection had begun: out of a half-sent extended query, then out of its transaction. */
const ROLL_BACK = [frame("S"), frame("Q", new TextEncoder().encode("ROLLBACK\0"))];

/**
 * Lets many connections use one session. A connection that begins something (a transaction, or an extended query whose description it awaits) has the
 * session to itself until the server says "ready, no transaction open"; the others wait in order. Without that their messages would mix and each would
 * get the other's rows.
 */
export class Hub {
  readonly #session: Session;
  #jobs: Job[] = [];
  #owner: Member | undefined;
  #running: Promise<void> | undefined;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Queues messages that belong together: up to a Sync, a simple Query or a Flush. */
  submit(member: Member, messages: readonly Uint8Array[]): void {
    this.#jobs.push({ member, messages: concat(messages) });
    this.#start();
  }

  /** A connection is gone: what it queued is dropped, what it began is rolled back. */
  leave(member: Member): void {
    this.#jobs = this.#jobs.filter((job) => job.member !== member);
    if (this.#owner !== member) return;
    // One by one: PGlite answers each, and only the last answer says "idle".
    this.#jobs.unshift(...ROLL_BACK.map((messages) => ({ member, messages })));
    this.#start();
  }

  /** Resolves when nothing runs and nothing that could run is queued. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  #start(): void {
    this.#running ??= this.#drain().finally(() => {
      this.#running = undefined;
      if (this.#nextJob() >= 0) this.#start();
    });
  }

  async #drain(): Promise<void> {
    for (let at = this.#nextJob(); at >= 0; at = this.#nextJob()) {
      const [job] = this.#jobs.splice(at, 1);
      if (job !== undefined) await this.#execute(job);
    }
  }

  /** -1 if there is none that may run now. */
  #nextJob(): number {
    return this.#jobs.findIndex((job) => this.#owner === undefined || job.member === this.#owner);
  }

  async #execute({ member, messages }: Job): Promise<void> {
    this.#owner = member;
    let tail: Uint8Array = new Uint8Array();
    try {
      await this.#session.execute(messages, (piece) => {
        tail = tailOf(tail, piece);
        member.reply(piece);
      });
      if (endsIdle(tail)) this.#owner = undefined;
    } catch (error) {
      this.#owner = undefined;
      member.fail(error);
    }
  }
}
