const MS_PER_DAY = 86_400_000;
const DAYS_IN_MONTH = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const DAYS_BEFORE_MONTH = DAYS_IN_MONTH.map((_, month) => DAYS_IN_MONTH.slice(0, month).reduce((a, b) => a + b, 0));
/** From the first day of the year 0. */
const DAYS_BEFORE_1970 = 719_528;

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
  if (text.length !== 10 || text[4] !== "-" || text[7] !== "-") return undefined;
  const [year, month, day] = [digits(text, 0, 4), digits(text, 5, 7), digits(text, 8, 10)];
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const before = DAYS_BEFORE_MONTH[month - 1];
  if (
    before === undefined || !(year >= 0 && day >= 1) || day > (month === 2 && leap ? 29 : DAYS_IN_MONTH[month - 1] ?? 0)
  ) {
    return undefined;
  }
  // Since the year 0, which is a leap year.
  const leapDays = Math.ceil(year / 4) - Math.ceil(year / 100) + Math.ceil(year / 400);
  return year * 365 + leapDays + before + Number(leap && month > 2) + day - 1 - DAYS_BEFORE_1970;
}

/** The number that these digits are; NaN if one is none. */
function digits(text: string, from: number, to: number): number {
  let number = 0;
  for (let i = from; i < to; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (!(digit >= 0 && digit <= 9)) return NaN;
    number = number * 10 + digit;
  }
  return number;
}
