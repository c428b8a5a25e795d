import { dayToNumber } from "../calendar.ts";
import { ExtractError } from "./errors.ts";

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** @param path The file that the value is in. */
function wrongType(path: string, column: string, wanted: string): ExtractError {
  return new ExtractError("wrong-type", `Cannot use column '${column}' of '${path}': it must hold ${wanted}`);
}

/** An id or a number as text, exactly; pandas writes a column of integers with gaps as doubles. `undefined` if there is none. */
export function asText(value: unknown, path: string, column: string): string | undefined {
  if (value === null || value === undefined) return undefined;
  if (typeof value === "string") return value.trim() || undefined;
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number" && Number.isNaN(value)) return undefined;
  if (typeof value === "number" && Number.isSafeInteger(value)) return String(value);
  throw wrongType(path, column, "text or whole numbers");
}

/** An id: a number, or text that is no usual number. `7`, `7n`, `7.0` and `"7"` are the same. */
export type Key = number | string;

/** An id of a table, to be looked up in another; numbers take less memory and time than text. `undefined` if there is none. */
export function asKey(value: unknown, path: string, column: string): Key | undefined {
  if (typeof value === "number" && Number.isSafeInteger(value)) return value;
  if (typeof value === "bigint" && value >= -MAX_SAFE && value <= MAX_SAFE) return Number(value);
  const text = asText(value, path, column);
  const number = Number(text);
  return Number.isSafeInteger(number) && String(number) === text ? number : text;
}

/** An id as a number. */
export function asInteger(key: Key, path: string): number {
  const value = Number(key);
  if (/^-?\d+$/.test(String(key)) && Number.isSafeInteger(value)) return value;
  throw wrongType(path, "procedure_occurrence_id", "whole numbers of at most 2^53 - 1");
}

/** A day as `YYYY-MM-DD`; {@linkcode readColumns} has made text of dates and times already. `undefined` if there is none. */
export function asDay(value: unknown, path: string): string | undefined {
  if (value === null || value === undefined || value === "") return undefined;
  const day = typeof value === "string" ? /^\s*(\d{4}-\d{2}-\d{2})(?:[T ].*)?$/.exec(value)?.[1] : undefined;
  if (day !== undefined && dayToNumber(day) !== undefined) return day;
  throw wrongType(path, "procedure_date", "dates, times, or text as YYYY-MM-DD");
}
