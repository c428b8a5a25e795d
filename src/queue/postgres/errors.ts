import { PixlError } from "../../errors.ts";
import { QueueError } from "../errors.ts";

/** Turns what postgres.js threw into an error that may be shown. @param action What could not be done, to follow "Cannot". */
export function queueError(action: string, cause: unknown): PixlError {
  if (cause instanceof PixlError) return cause;
  const code = cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "";
  // 42P01 undefined_table, 3F000 invalid_schema_name, 42703 undefined_column.
  if (["42P01", "3F000", "42703"].includes(code)) {
    return new QueueError("queue-missing", `Cannot ${action}: the tables are missing or old, run 'pixl migrate'`, {
      cause,
    });
  }
  if (code === "CONNECTION_ENDED" || code === "CONNECTION_DESTROYED") {
    return new QueueError("closed", `Cannot ${action}: the database was closed`, { cause });
  }
  if (code.startsWith("28") || code === "42501") {
    return new QueueError(
      "broker-refused",
      `Cannot ${action}: the database refused it, check the user and its rights`,
      { cause },
    );
  }
  // Classes 22 data exception and 23 integrity constraint violation.
  if (/^2[23]...$/.test(code)) {
    return new QueueError("broker-refused", `Cannot ${action}: the database does not take a value of it`, { cause });
  }
  if (!isOutage(cause, code)) {
    return new QueueError("broker-refused", `Cannot ${action}: the database failed at it, see its log`, { cause });
  }
  return new QueueError("broker-unreachable", `Cannot ${action}: the database does not answer, try again`, { cause });
}

/**
 * Whether the same may be done later: no answer in time, a connection that is not there, or what a server says of itself, not of what it was asked (PostgreSQL manual, appendix
 * A: 08 connection exception, 40 transaction rollback, 53 insufficient resources, 57014 query_canceled, 57P operator intervention).
 */
function isOutage(cause: unknown, code: string): boolean {
  if (isAnswer(cause)) return /^(08|40|53|57P|57014)/.test(code);
  return cause instanceof Error && cause.name === "TimeoutError" ||
    /^(E(?!RR_)[A-Z_]+|CONNECT_TIMEOUT|CONNECTION_CLOSED)$/.test(code);
}

/** Whether the server itself said what was wrong. */
export function isAnswer(error: unknown): boolean {
  return error instanceof Error && error.name === "PostgresError";
}

/** A queue that nobody declared. */
export function queueMissing(queue: string): QueueError {
  return new QueueError("queue-missing", `Cannot find the queue '${queue}': declare it first`);
}

/** What was used after it was closed. */
export function closed(what: string): QueueError {
  return new QueueError("closed", `Cannot use the ${what}: it was closed`);
}

/** Someone else may have the message. */
export function deliveryLost(cause?: unknown): QueueError {
  return new QueueError(
    "delivery-lost",
    "Cannot answer the delivery: it was answered before, or its lease ran out and the message is delivered again",
    cause === undefined ? undefined : { cause },
  );
}
