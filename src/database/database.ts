import type { Sql } from "./sql.ts";

/** An open database. Closing it waits a few seconds for what runs, then breaks it off. */
export interface Database extends AsyncDisposable {
  /** Runs queries. */
  readonly sql: Sql;
  /** Whether it runs within this process, where nobody else vacuums or analyses the tables. */
  readonly embedded: boolean;
}
