import { type ErrorKind, PixlError } from "../errors.ts";

/**
 * Why a database operation failed.
 *
 * | code                   | meaning                                                                       |
 * |------------------------|-------------------------------------------------------------------------------|
 * | `database-unreachable` | no connection, or it broke                                                    |
 * | `database-busy`        | too many connections, a deadlock, or a statement took too long                |
 * | `database-locked`      | another process uses the embedded database's folder                           |
 * | `database-closed`      | used after it was closed                                                      |
 * | `database-failed`      | anything else: disk full, an internal error                                   |
 * | `database-refused`     | wrong user, password, certificate, permission, or a folder without write access |
 * | `database-missing`     | the server has no such database                                               |
 * | `database-outdated`    | the tables are missing or older than this version: `pixl migrate`             |
 * | `database-newer`       | the tables were made by a newer version                                       |
 * | `migration-changed`    | a migration was applied with another text                                     |
 * | `adoption-refused`     | tables of the Python PIXL have rows that break a rule: the text says which    |
 * | `value-refused`        | a value breaks a rule of the table                                            |
 * | `transition-refused`   | a study cannot go from its state to that one                                  |
 */
export type DatabaseErrorCode =
  | "database-unreachable"
  | "database-busy"
  | "database-locked"
  | "database-closed"
  | "database-failed"
  | "database-refused"
  | "database-missing"
  | "database-outdated"
  | "database-newer"
  | "migration-changed"
  | "adoption-refused"
  | "value-refused"
  | "transition-refused";

const KINDS: Readonly<Record<DatabaseErrorCode, ErrorKind>> = {
  "database-unreachable": "unavailable",
  "database-busy": "unavailable",
  "database-locked": "unavailable",
  "database-closed": "unavailable",
  "database-failed": "unavailable",
  "database-refused": "refused",
  "database-missing": "configuration",
  "database-outdated": "configuration",
  "database-newer": "configuration",
  "migration-changed": "configuration",
  "adoption-refused": "input",
  "value-refused": "input",
  "transition-refused": "input",
};

/** A database operation failed. The server's own words, which may quote values, are only in `cause`. */
export class DatabaseError extends PixlError {
  /** Why. */
  override readonly code: DatabaseErrorCode;
  /** Follows from the code. */
  override readonly kind: ErrorKind;

  /** An error of that code. @param code Why. @param message What could not be done and what to do. @param options The cause. */
  constructor(code: DatabaseErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.kind = KINDS[code];
  }
}

/** Someone finishes a study whose lease ran out and was taken over, or that was never theirs. Nothing was written. */
export class LeaseLostError extends PixlError {
  /** Always the same. */
  override readonly code = "lease-lost";
  /** The next attempt may succeed. */
  override readonly kind = "unavailable";

  /** Names the row and the late owner. @param kind `image`, `report` or `upload`. @param id The row, or the path. @param owner Who believed to hold the lease. */
  constructor(kind: string, id: number | string, owner: string) {
    super(
      `Cannot finish ${kind} ${id} as '${owner}': its lease ran out and another took it over, so this result is dropped`,
    );
  }
}
