import { deadline } from "@std/async";
import type postgres from "postgres";

/** Carries the name of a queue where a message came in. */
const CHANNEL = "pixl_queue";

/** Time allowed to a notice and to a goodbye, in milliseconds: both can be done without. */
const PATIENCE_MS = 1_000;

/**
 * Tells other processes of messages that came in, and hears of theirs, by PostgreSQL's NOTIFY and LISTEN. Both may fail: who waits also looks from time to
 * time.
 */
export class Listener {
  readonly #sql: postgres.Sql;
  readonly #heard: (queue: string | undefined) => void;
  #listening: Promise<postgres.ListenMeta> | undefined;

  /** @param heard Called with the queue; with `undefined` when it begins to listen, at first or again, and may have missed some. */
  constructor(sql: postgres.Sql, heard: (queue: string | undefined) => void) {
    this.#sql = sql;
    this.#heard = heard;
  }

  /** Listens from now on, on a connection of its own; postgres.js does so again whenever that breaks. */
  start(): void {
    if (this.#listening !== undefined) return;
    this.#listening = this.#sql.listen(CHANNEL, (queue) => {
      if (queue !== "") this.#heard(queue);
    }, () => this.#heard(undefined));
    this.#listening.catch(() => {});
  }

  /** Never rejects. @param queue Where a message came in; empty for nothing but a sign of life, without which the connection would count as broken. */
  async tell(queue: string): Promise<void> {
    await deadline(this.#sql`select pg_notify(${CHANNEL}, ${queue})`.execute(), PATIENCE_MS).catch(() => {});
  }

  /** Stops. Never rejects. */
  async stop(): Promise<void> {
    await deadline(this.#listening?.then(({ unlisten }) => unlisten()) ?? Promise.resolve(), PATIENCE_MS).catch(
      () => {},
    );
  }
}
