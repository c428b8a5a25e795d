import { deadline } from "@std/async";
import { openClient } from "./client.ts";
import type { Database } from "./database.ts";
import { DatabaseError, type DatabaseErrorCode } from "./errors.ts";
import { databaseErrorCode } from "./failure.ts";
import { ServerSockets } from "./server_sockets.ts";

/** A PostgreSQL server, version 13 or newer. */
export interface PostgresOptions {
  /** Tells it from the embedded database. */
  readonly kind: "postgres";
  /** Name or address. */
  readonly host: string;
  /** Usually 5432. */
  readonly port: number;
  /** Name of the database, which must exist. */
  readonly database: string;
  /** Role to log in as. */
  readonly user: string;
  /** Its password. Never shown. */
  readonly password: string;
  /**
   * `{}` verifies the server's certificate and name against the system's authorities, `{ ca }` against that one (PEM); `false` sends everything in the
   * clear, the password as a SCRAM proof: for a server on this host or in a private container network.
   */
  readonly tls: { readonly ca?: string } | false;
  /** Most connections at once. @default {5} */
  readonly poolSize?: number;
  /** Most time for one statement, in milliseconds; also ends a transaction that stands still for so long. @default {30_000} */
  readonly statementTimeoutMs?: number;
  /** Most time for a connection to come about, in milliseconds. @default {5_000} */
  readonly connectTimeoutMs?: number;
  /** Shown in `pg_stat_activity`. @default {"pixl"} */
  readonly applicationName?: string;
}

/** Slack for the server to report its own time-out before the connection is given up. */
const SILENCE_SLACK_MS = 5_000;

/** Connects to a server and checks that it answers. See {@linkcode openDatabase}. */
export async function openServer(options: PostgresOptions, signal?: AbortSignal): Promise<Database> {
  const { host, port, poolSize = 5, statementTimeoutMs = 30_000, connectTimeoutMs = 5_000, applicationName = "pixl" } =
    options;
  const sockets = new ServerSockets({
    host,
    port,
    tls: options.tls,
    silenceMs: statementTimeoutMs + SILENCE_SLACK_MS,
  });
  const sql = openClient({
    host,
    port,
    database: options.database,
    user: options.user,
    password: options.password,
    poolSize,
    connectTimeoutMs,
    settings: {
      application_name: applicationName,
      statement_timeout: statementTimeoutMs,
      idle_in_transaction_session_timeout: statementTimeoutMs,
      TimeZone: "UTC",
      DateStyle: "ISO, YMD",
    },
    socket: () => sockets.connect(),
  });
  let closing: Promise<void> | undefined;
  const close = async () => {
    // postgres.js waits in vain for a connection that broke and was not used since.
    await sql.end({ timeout: sockets.broke ? 1 : 5 });
    await sockets[Symbol.asyncDispose]();
  };
  const database: Database = { sql, embedded: false, [Symbol.asyncDispose]: () => closing ??= close() };
  try {
    await deadline(sql`select 1`.execute(), 2 * connectTimeoutMs, signal === undefined ? {} : { signal });
    return database;
  } catch (error) {
    await sql.end({ timeout: 0 });
    await sockets[Symbol.asyncDispose]();
    if (signal?.aborted && error === signal.reason) throw error;
    throw connectFailure(options, error);
  }
}

function connectFailure({ host, port, database, user }: PostgresOptions, cause: unknown): DatabaseError {
  const late = cause instanceof DOMException && cause.name === "TimeoutError";
  const code: DatabaseErrorCode = late ? "database-unreachable" : databaseErrorCode(cause);
  const at = `${host}:${port}`;
  const text: Partial<Record<DatabaseErrorCode, string>> = {
    "database-unreachable": `Cannot reach PostgreSQL at ${at}: check the address and that the server runs`,
    "database-busy": `Cannot connect to PostgreSQL at ${at}: it takes no more connections now, try again`,
    "database-refused":
      `Cannot log in to PostgreSQL at ${at} as '${user}': check the password, the permissions and the server's certificate`,
    "database-missing": `Cannot find the database '${database}' on ${at}: create it or correct the name`,
  };
  return new DatabaseError(code, text[code] ?? `Cannot connect to PostgreSQL at ${at}: see its log`, { cause });
}
