import type { Database } from "./database.ts";
import { type EmbeddedOptions, openEmbedded } from "./embedded/embedded.ts";
import { openServer, type PostgresOptions } from "./server.ts";

/**
 * Opens a PostgreSQL server's database, or the embedded one in a folder. Its tables are made by {@linkcode migrate}.
 *
 * @param options Which.
 * @param abort `signal` ends the attempt with its reason.
 * @returns The open database.
 * @throws {RangeError} If `kind` is neither.
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
  switch (options.kind) {
    case "postgres":
      return openServer(options, signal);
    case "embedded":
      return openEmbedded(options, signal);
    default: {
      // Without a type check an object for a server would otherwise make a folder.
      const { kind } = options as { readonly kind?: unknown };
      return Promise.reject(
        new RangeError(`Cannot open a database as 'kind' must be 'postgres' or 'embedded': current value is ${kind}`),
      );
    }
  }
}
