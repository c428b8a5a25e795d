const LONGEST = 1_000;

/** A reason as the tables keep it: PostgreSQL takes no NUL, and nobody reads more. */
export function reasonText(reason: string): string {
  return reason.replaceAll("\0", "\ufffd").slice(0, LONGEST);
}
