import { dayToNumber } from "../../calendar.ts";
import { DatabaseError } from "../errors.ts";

const LONGEST = 1_000;

/** A reason as the tables keep it: PostgreSQL takes no NUL, and nobody reads more. */
export function reasonText(reason: string): string {
  return reason.replaceAll("\0", "\ufffd").slice(0, LONGEST);
}

/**
 * A study's day, checked before it is sent: PostgreSQL's own log would quote what is none.
 *
 * @throws {DatabaseError} `value-refused` if there is no such day.
 */
export function studyDay(text: string): string {
  if (dayToNumber(text) !== undefined) return text;
  throw new DatabaseError(
    "value-refused",
    "Cannot use a study as its 'study_date' must be a day that exists, as YYYY-MM-DD",
  );
}
