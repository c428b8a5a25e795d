import { deadline } from "@std/async";
import type postgres from "postgres";

/** Carries the name of a queue where a message came in. */
const CHANNEL = "pixl_queue";

/** Time allowed to a goodbye, in milliseconds. */
const CLOSE_MS = 1_000;

/**
 * Tells other processes of messages that came in, and hears of theirs, by PostgreSQL's NOTIFY and LISTEN. Both may fail: who waits also looks from time to
 * time.
 */
export class Listener {
  readonly #sql: postgres.Sql;
  readonly #heard: (queue: string | undefined) => void;
  readonly #telling = new Set<Promise<unknown>>();
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

  /** Waits for nothing and never fails. @param queue Where a message came in; empty for nothing but a sign of life, without which the connection would count as broken. */
  tell(queue: string): void {
    const telling: Promise<unknown> = this.#sql`select pg_notify(${CHANNEL}, ${queue})`.catch(() => {})
      .finally(() => this.#telling.delete(telling));
    this.#telling.add(telling);
  }

  /** Stops. Never rejects. */
  async stop(): Promise<void> {
    await deadline(Promise.all(this.#telling), CLOSE_MS).catch(() => {});
    await deadline(this.#listening?.then(({ unlisten }) => unlisten()) ?? Promise.resolve(), CLOSE_MS).catch(() => {});
  }
}
