const MS_PER_DAY = 86_400_000;

/**
 * The day in `YYYY-MM-DD` that is so many days after 1970-01-01, as Parquet's DATE counts.
 *
 * @param days Days, negative before 1970.
 * @returns The text; empty if the year has not four digits.
 */
export function dayFromNumber(days: number): string {
  const date = new Date(days * MS_PER_DAY);
  if (Number.isNaN(date.getTime())) return "";
  const text = date.toISOString();
  return /^\d{4}-/.test(text) ? text.slice(0, 10) : "";
}

/**
 * The opposite of {@linkcode dayFromNumber}.
 *
 * @param text `YYYY-MM-DD`.
 * @returns Days since 1970-01-01; `undefined` if there is no such day.
 */
export function dayToNumber(text: string): number | undefined {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) return undefined;
  const days = Date.parse(`${text}T00:00:00Z`) / MS_PER_DAY;
  return dayFromNumber(days) === text ? days : undefined;
}
