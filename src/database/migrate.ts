import { createHash } from "node:crypto";
import type { Database } from "./database.ts";
import { DatabaseError } from "./errors.ts";
import { run } from "./failure.ts";
import { type Migration, MIGRATIONS } from "./migrations/list.ts";
import type { Queryable } from "./sql.ts";

/** What {@linkcode migrate} did. */
export interface MigrationResult {
  /** Names of the steps that were applied now, in order; empty if there were none left. */
  readonly applied: readonly string[];
  /** Name of the newest step. */
  readonly current: string;
}

/** Key of the advisory lock; any number that nobody else uses: "pixl" in ASCII. */
const LOCK = 0x7069786c;

/**
 * Brings the tables up to date, each step in a transaction of its own. Any number of processes may do this at once: one applies a step, the others
 * wait and find it done.
 *
 * @param database The open database.
 * @param options `signal` ends the wait with its reason; a step that has begun is finished or undone.
 * @throws {DatabaseError} `migration-changed` if an applied step's text differs from this version's; `database-newer` if a newer version was here.
 */
export async function migrate(
  database: Database,
  options: { readonly signal?: AbortSignal } = {},
): Promise<MigrationResult> {
  return await applyMigrations(database, MIGRATIONS, options);
}

/** The steps that are still to be applied, in order. @throws {DatabaseError} As {@linkcode migrate}. */
export async function pendingMigrations(
  { sql }: Database,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<readonly Migration[]> {
  return await run("read the state of the tables", async () => {
    const [row] = await sql<{ there: boolean }[]>`select to_regclass('pixl_pipeline.migration') is not null as there`;
    return row?.there ? await pendingAmong(sql, MIGRATIONS) : MIGRATIONS;
  }, signal);
}

/** {@linkcode migrate} with steps of the caller's choice. */
export async function applyMigrations(
  { sql }: Database,
  migrations: readonly Migration[],
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<MigrationResult> {
  const applied: string[] = [];
  let next: string | undefined;
  do {
    next = await run("bring the tables up to date", () => sql.begin((tx) => applyNext(tx, migrations)), signal);
    if (next !== undefined) applied.push(next);
  } while (next !== undefined);
  return { applied, current: migrations.at(-1)?.name ?? "" };
}

async function applyNext(sql: Queryable, migrations: readonly Migration[]): Promise<string | undefined> {
  await sql`select pg_advisory_xact_lock(${LOCK})`;
  await sql`create schema if not exists pixl_pipeline`;
  await sql`
    create table if not exists pixl_pipeline.migration (
      name text primary key,
      sha256 text not null,
      applied_at timestamptz not null default now()
    )`;
  const [next] = await pendingAmong(sql, migrations);
  if (next === undefined) return undefined;
  await sql.unsafe(next.sql);
  await sql`insert into pixl_pipeline.migration (name, sha256) values (${next.name}, ${checksum(next)})`;
  return next.name;
}

async function pendingAmong(sql: Queryable, migrations: readonly Migration[]): Promise<readonly Migration[]> {
  const rows = await sql<{ name: string; sha256: string }[]>`select name, sha256 from pixl_pipeline.migration`;
  const applied = new Map(rows.map(({ name, sha256 }) => [name, sha256]));
  for (const name of applied.keys()) {
    if (migrations.some((known) => known.name === name)) continue;
    throw new DatabaseError(
      "database-newer",
      `Cannot use the tables: they have the step '${name}' of a newer version, install that`,
    );
  }
  for (const migration of migrations) {
    const sha256 = applied.get(migration.name);
    if (sha256 === undefined || sha256 === checksum(migration)) continue;
    throw new DatabaseError(
      "migration-changed",
      `Cannot use the tables: the step '${migration.name}' was applied with another text, restore the file`,
    );
  }
  return migrations.filter(({ name }) => !applied.has(name));
}

/** Of the text with plain line ends, since git may change those. */
function checksum({ sql }: Migration): string {
  return createHash("sha256").update(sql.replaceAll("\r\n", "\n")).digest("hex");
}
