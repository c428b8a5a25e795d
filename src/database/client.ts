import type { Duplex } from "node:stream";
import postgres from "postgres";
import type { Sql } from "./sql.ts";

/** What differs between a server and the embedded database. */
export interface ClientOptions {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string;
  readonly poolSize: number;
  readonly connectTimeoutMs: number;
  /** Session settings that go with the start-up message. */
  readonly settings: Readonly<Record<string, string | number>>;
  /** Begins a connection. Must not throw: postgres.js would lose a place of its pool. */
  readonly socket: () => Duplex;
}

/** The options that postgres.js reads and its types leave out. */
interface Untyped {
  readonly socket: () => Duplex;
  readonly max_pipeline: number;
  readonly sslnegotiation: null;
}

/** Makes the handle. Every option is given, so that stray `PG…` environment variables change nothing. */
export function openClient(options: ClientOptions): Sql {
  const all: postgres.Options<Record<string, postgres.PostgresType>> & Untyped = {
    host: options.host,
    port: options.port,
    database: options.database,
    user: options.user,
    password: options.password,
    max: options.poolSize,
    connect_timeout: options.connectTimeoutMs / 1_000,
    backoff: backoff(),
    // Zero, since nothing falls back to the environment.
    idle_timeout: 0,
    max_lifetime: 0,
    keep_alive: 60,
    max_pipeline: 100,
    // Encryption is the socket's own business: see `ServerSocket`.
    ssl: false,
    sslnegotiation: null,
    prepare: true,
    debug: false,
    // Its query for the types of arrays rejects where nobody listens if the connection breaks meanwhile, which ends the process.
    fetch_types: false,
    publications: "alltables",
    target_session_attrs: "read-write",
    onnotice: () => {},
    connection: { ...options.settings },
    types: { text_time: TEXT_TIME, safe_bigint: SAFE_BIGINT, text_array: TEXT_ARRAY },
    socket: options.socket,
  };
  return postgres(all);
}

/**
 * The pause before a connection is tried again, in seconds. postgres.js' own grows to 20 s, and queries queue behind it long after the server is back; nor
 * can it count, since a `ServerSocket` that closes does not say whether it ever came about. Without a pause that grows, one that listens would be tried
 * fifteen times a second.
 */
function backoff(): () => number {
  let last = -Infinity;
  let times = 0;
  return () => {
    const now = performance.now();
    times = now - last < BURST_MS ? times + 1 : 0;
    last = now;
    return Math.min(0.05 * 2 ** times, 0.5);
  };
}

/** Connections that close within so long of each other close for one reason. */
const BURST_MS = 2_000;

/** `date`, `timestamp` and `timestamptz` (pg_type.dat) stay as PostgreSQL writes them. */
const TEXT_TIME: postgres.PostgresType<string> = {
  to: 1184,
  from: [1082, 1114, 1184],
  serialize: (text) => text,
  parse: (text: string) => text,
};

const SAFE_BIGINT: postgres.PostgresType<number> = {
  to: 20,
  from: [20],
  serialize: (value) => String(value),
  parse(text: string) {
    const value = Number(text);
    if (!Number.isSafeInteger(value)) throw new RangeError("Cannot read a bigint of the database: it is beyond 2^53");
    return value;
  },
};

/** `text[]`, the one kind of array that is sent; others are made of it by a cast. */
const TEXT_ARRAY: postgres.PostgresType<readonly (string | null)[]> = {
  to: 1009,
  from: [1009],
  serialize: (texts) =>
    `{${texts.map((text) => text === null ? "null" : `"${text.replace(/["\\]/g, "\\$&")}"`).join(",")}}`,
  parse() {
    throw new TypeError("Cannot read an array: unnest it in the query");
  },
};
