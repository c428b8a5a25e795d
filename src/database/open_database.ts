import type { Database } from "./database.ts";
import { type EmbeddedOptions, openEmbedded } from "./embedded/embedded.ts";
import { openServer, type PostgresOptions } from "./server.ts";

/**
 * Opens a PostgreSQL server's database, or the embedded one in a folder. Its tables are made by {@linkcode migrate}.
 *
 * @param options Which.
 * @param abort `signal` ends the attempt with its reason.
 * @returns The open database.
 * @throws {DatabaseError} `database-unreachable`, `database-busy`, `database-refused` or `database-missing`; embedded `database-locked` or
 * `database-refused`.
 *
 * @example
 * ```ts
 * import { migrate, openDatabase } from "@pixl/core/database";
 * import { assertEquals } from "@std/assert";
 *
 * await using database = await openDatabase({ kind: "embedded", dir: await Deno.makeTempDir() });
 * await migrate(database);
 * const [row] = await database.sql<{ day: string }[]>`select date '2020-02-29' as day`;
 * assertEquals(row?.day, "2020-02-29");
 * ```
 */
export function openDatabase(
  options: PostgresOptions | EmbeddedOptions,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<Database> {
  return options.kind === "postgres" ? openServer(options, signal) : openEmbedded(options, signal);
}
