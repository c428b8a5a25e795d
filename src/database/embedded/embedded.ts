import { openClient } from "../client.ts";
import type { Database } from "../database.ts";
import { DatabaseError } from "../errors.ts";
import { ServerSockets } from "../server_sockets.ts";
import type { EmbeddedAssets } from "./assets.ts";
import { DirectoryLock } from "./directory_lock.ts";
import { Leader } from "./leader.ts";
import { isNotPermitted, SharedFolder } from "./shared.ts";

/**
 * PostgreSQL within this process ({@link https://pglite.dev | PGlite}): nothing to install, one process a folder unless it is shared. What was committed survives a killed
 * process but, since nothing is flushed to the disk, not always a power cut: for trying out, tests and small hosts.
 */
export interface EmbeddedOptions {
  /** Tells it from a server. */
  readonly kind: "embedded";
  /** Folder of the database, made with mode 0700 if it is not there. Only read and write access to it is needed. */
  readonly dir: string;
  /**
   * Whether several processes of this host may use the folder at once, through a socket in it: whoever comes first serves the others, and when it ends one
   * of them takes over. Needs network access to `unix:DIR/run/socket`, and goes without being shared where that is not permitted. @default {false}
   */
  readonly shared?: boolean;
  /** PGlite's files, where they cannot be taken out of the npm package: in a bundle. */
  readonly assets?: EmbeddedAssets;
}

/** A connection to the process that leads is given up after so long a silence, in milliseconds. Nothing ends a statement before. */
const SILENCE_MS = 120_000;

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
    if (!options.shared) return await openAlone(options, signal);
    return await openShared(options, signal).catch((error) => {
      if (isNotPermitted(error)) return openAlone(options, signal);
      throw error;
    });
  } catch (error) {
    if (signal?.aborted && error === signal.reason) throw error;
    throw openFailure(dir, error);
  }
}

async function openAlone({ dir, assets }: EmbeddedOptions, signal?: AbortSignal): Promise<Database> {
  const leader = await Leader.start(`${dir}/data`, await DirectoryLock.take(dir), assets, signal);
  const sql = openClient({ ...CLIENT, socket: () => leader.connect() });
  return {
    sql,
    embedded: true,
    [Symbol.asyncDispose]: once(async () => {
      await sql.end({ timeout: 5 });
      await leader[Symbol.asyncDispose]();
    }),
  };
}

async function openShared({ dir, assets }: EmbeddedOptions, signal?: AbortSignal): Promise<Database> {
  const folder = new SharedFolder(dir, assets);
  try {
    await folder.ready();
    signal?.throwIfAborted();
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
  const sockets = new ServerSockets({ path: folder.path, ready: () => folder.ready(), silenceMs: SILENCE_MS });
  const sql = openClient({ ...CLIENT, socket: () => sockets.connect() });
  return {
    sql,
    embedded: true,
    [Symbol.asyncDispose]: once(async () => {
      // postgres.js waits in vain for a connection that broke and was not used since.
      await sql.end({ timeout: sockets.broke ? 1 : 5 });
      await sockets[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    }),
  };
}

const CLIENT = {
  host: "embedded",
  port: 1,
  database: "postgres",
  user: "postgres",
  password: "",
  poolSize: CONNECTIONS,
  connectTimeoutMs: 60_000,
  settings: { application_name: "pixl", TimeZone: "UTC", DateStyle: "ISO, YMD" },
} as const;

/** Does it the first time; later calls wait for that. */
function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => done ??= work();
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
