import { abortable } from "@std/async";
import { DatabaseError, type DatabaseErrorCode } from "./errors.ts";
import { PixlError } from "../errors.ts";

const REASONS: Readonly<Record<DatabaseErrorCode, string>> = {
  "database-unreachable": "the database does not answer, try again when it does",
  "database-busy": "the database is busy, try again",
  "database-locked": "another process uses the database, stop it first",
  "database-closed": "the database was closed",
  "database-failed": "the database failed, see its log",
  "database-refused": "the database refused it, check the user, the password and the permissions",
  "database-missing": "there is no such database, create it",
  "database-outdated": "its tables are missing or old, run 'pixl migrate'",
  "database-newer": "its tables are newer than this version, install the newer version",
  "migration-changed": "a migration was changed after it was applied",
  "adoption-refused": "its rows break a rule",
  "value-refused": "the database does not take a value",
  "transition-refused": "its state does not allow that",
};

/** Codes of Node's sockets and of postgres.js, and what they mean here. */
const NAMED: Readonly<Record<string, DatabaseErrorCode>> = {
  CONNECTION_ENDED: "database-closed",
  CONNECTION_DESTROYED: "database-closed",
  CONNECTION_CLOSED: "database-unreachable",
  CONNECT_TIMEOUT: "database-unreachable",
  AUTH_TYPE_NOT_IMPLEMENTED: "database-refused",
  SASL_SIGNATURE_MISMATCH: "database-refused",
  UNDEFINED_VALUE: "value-refused",
};

/** SQLSTATEs by their beginning, the longest first (PostgreSQL manual, appendix A). */
const STATES: readonly (readonly [string, DatabaseErrorCode])[] = [
  ["3D000", "database-missing"],
  ["3F000", "database-outdated"],
  ["42501", "database-refused"],
  ["42703", "database-outdated"],
  ["42883", "database-outdated"],
  ["42P01", "database-outdated"],
  ["53300", "database-busy"],
  ["55P03", "database-busy"],
  ["57014", "database-busy"],
  ["PX001", "transition-refused"],
  ["PX002", "adoption-refused"],
  ["08", "database-unreachable"],
  ["22", "value-refused"],
  ["23", "value-refused"],
  ["25P03", "database-unreachable"],
  ["28", "database-refused"],
  ["40", "database-busy"],
  ["57", "database-unreachable"],
];

/** Which of our codes a failure of the driver, its socket or the server has. */
export function databaseErrorCode(error: unknown): DatabaseErrorCode {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (typeof code !== "string") return error instanceof RangeError ? "value-refused" : "database-failed";
  const named = NAMED[code];
  if (named !== undefined) return named;
  if (/^E(?!RR_)[A-Z_]+$/.test(code)) return "database-unreachable";
  if (/^(ERR_TLS_|ERR_SSL_|CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_)/.test(code)) return "database-refused";
  return STATES.find(([start]) => code.startsWith(start))?.[1] ?? "database-failed";
}

/**
 * Turns what the driver threw into an error that may be shown.
 *
 * @param action What could not be done, to follow "Cannot".
 * @param error What was thrown. Ours are passed through.
 */
export function databaseError(action: string, error: unknown): Error {
  if (error instanceof PixlError) return error;
  const code = databaseErrorCode(error);
  // The one text of a server that is shown: our own, in the first migration, and without identifiers.
  const reason = code === "adoption-refused" && error instanceof Error ? error.message : REASONS[code];
  return new DatabaseError(code, `Cannot ${action}: ${reason}`, { cause: error });
}

/**
 * Runs a query or a transaction.
 *
 * @param action What it does, to follow "Cannot".
 * @param work Starts it.
 * @param signal Ends the wait with its reason. What the server has begun, it may still finish.
 */
export async function run<T>(action: string, work: () => PromiseLike<T>, signal?: AbortSignal): Promise<T> {
  signal?.throwIfAborted();
  try {
    const promise = Promise.resolve(work());
    return await (signal === undefined ? promise : abortable(promise, signal));
  } catch (error) {
    if (signal?.aborted && error === signal.reason) throw error;
    throw databaseError(action, error);
  }
}
