import { PGlite, type PGliteOptions } from "@electric-sql/pglite";
import { openClient } from "../client.ts";
import type { Database } from "../database.ts";
import { DatabaseError } from "../errors.ts";
import { type EmbeddedAssets, packagedAssets } from "./assets.ts";
import { DirectoryLock } from "./directory_lock.ts";
import { Hub } from "./hub.ts";
import { Wire } from "./wire.ts";

/**
 * PostgreSQL within this process ({@link https://pglite.dev | PGlite}): nothing to install, one process a folder. What was committed survives a killed
 * process but, since nothing is flushed to the disk, not always a power cut: for trying out, tests and small hosts.
 */
export interface EmbeddedOptions {
  /** Tells it from a server. */
  readonly kind: "embedded";
  /** Folder of the database, made with mode 0700 if it is not there. Only read and write access to it is needed. */
  readonly dir: string;
  /** PGlite's files, where they cannot be taken out of the npm package: in a bundle. */
  readonly assets?: EmbeddedAssets;
}

/** More buy nothing, since the connections take turns; two let a short query slip in between the statements of a long job. */
const CONNECTIONS = 4;

/** Opens the database in a folder. See {@linkcode openDatabase}. */
export async function openEmbedded(options: EmbeddedOptions, signal?: AbortSignal): Promise<Database> {
  signal?.throwIfAborted();
  const { dir } = options;
  try {
    await Deno.mkdir(`${dir}/data`, { recursive: true, mode: 0o700 });
    // It may be there from a time with other rights, and it holds patients' data.
    await Deno.chmod(`${dir}/data`, 0o700);
    const lock = await DirectoryLock.take(dir);
    try {
      const pglite = await PGlite.create(`${dir}/data`, await pgliteOptions(options.assets));
      // PGlite cannot be stopped on its way.
      if (signal?.aborted) await pglite.close();
      signal?.throwIfAborted();
      return connect(pglite, lock);
    } catch (error) {
      lock[Symbol.dispose]();
      throw error;
    }
  } catch (error) {
    if (signal?.aborted && error === signal.reason) throw error;
    throw openFailure(dir, error);
  }
}

async function pgliteOptions(given: EmbeddedAssets | undefined): Promise<PGliteOptions> {
  const assets = given ?? await packagedAssets();
  if (assets === undefined) return {};
  const [pgliteWasmModule, initdbWasmModule] = await Promise.all([
    WebAssembly.compile(assets.wasm),
    WebAssembly.compile(assets.initdb),
  ]);
  return { fsBundle: new Blob([assets.data]), pgliteWasmModule, initdbWasmModule };
}

function connect(pglite: PGlite, lock: DirectoryLock): Database {
  const hub = new Hub({
    execute: (messages, answer) =>
      pglite.runExclusive(() => pglite.execProtocolRawStream(messages, { onRawData: answer })),
  });
  const sql = openClient({
    host: "embedded",
    port: 1,
    database: "postgres",
    user: "postgres",
    password: "",
    poolSize: CONNECTIONS,
    connectTimeoutMs: 60_000,
    settings: { application_name: "pixl", TimeZone: "UTC", DateStyle: "ISO, YMD" },
    socket: () => new Wire(hub),
  });
  let closing: Promise<void> | undefined;
  const close = async () => {
    try {
      await sql.end({ timeout: 5 });
      await hub.idle();
      await pglite.close();
    } finally {
      lock[Symbol.dispose]();
    }
  };
  return { sql, embedded: true, [Symbol.asyncDispose]: () => closing ??= close() };
}

function openFailure(dir: string, cause: unknown): Error {
  if (cause instanceof DatabaseError) return cause;
  const refused = cause instanceof Deno.errors.PermissionDenied || cause instanceof Deno.errors.NotCapable ||
    cause instanceof Deno.errors.NotADirectory || cause instanceof Deno.errors.AlreadyExists;
  return refused
    ? new DatabaseError(
      "database-refused",
      `Cannot use the folder '${dir}' for the embedded database: it must be readable and writable`,
      {
        cause,
      },
    )
    : new DatabaseError(
      "database-failed",
      `Cannot start the embedded database in '${dir}': see that the disk has 100 MB free and that the folder holds nothing else`,
      { cause },
    );
}
