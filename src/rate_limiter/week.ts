/** When a rate holds. */
export interface Window {
  /** Days on which it begins, 0 for Monday. */
  readonly days: readonly number[];
  /** Minutes since midnight. */
  readonly from: number;
  /** Minutes since midnight, up to 1,440; not after `from` it is on the next day. */
  readonly to: number;
  /** Tokens a second. */
  readonly rate: number;
  /** How it was written, or where it stood. */
  readonly source: string;
}

/** Minutes. */
export const MINUTES_A_DAY = 1_440;

/** Minutes. */
export const MINUTES_A_WEEK = 7 * MINUTES_A_DAY;

const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/** `mon-fri`, `sat,sun` or `fri-mon`. @returns Their numbers in order, or nothing if it is anything else. */
export function parseDays(text: string): readonly number[] | undefined {
  const days = new Set<number>();
  for (const part of text.toLowerCase().split(",")) {
    const [first, last, more] = part.split("-").map((name) => DAYS.indexOf(name));
    if (first === undefined || first < 0 || last === -1 || more !== undefined) return undefined;
    for (let day = first;; day = (day + 1) % 7) {
      days.add(day);
      if (day === (last ?? first)) break;
    }
  }
  return [...days].toSorted((a, b) => a - b);
}

/** Days as {@linkcode parseDays} reads them. */
export function dayRange(days: readonly number[]): string {
  const runs: number[][] = [];
  for (const day of days) {
    const run = runs.at(-1);
    if (run !== undefined && run.at(-1) === day - 1) run.push(day);
    else runs.push([day]);
  }
  return runs.map((run) => [...new Set([run[0], run.at(-1)])].map((day) => DAYS[day ?? 0]).join("-")).join(",");
}

/** `hh:mm` up to `24:00`. @returns Minutes since midnight, or nothing if it is anything else. */
export function parseClockTime(text: string): number | undefined {
  const [, hours, minutes] = /^(\d\d):([0-5]\d)$/.exec(text) ?? [];
  const total = Number(hours) * 60 + Number(minutes);
  return total <= MINUTES_A_DAY ? total : undefined;
}

/** Minutes since midnight as {@linkcode parseClockTime} reads them. */
export function clockTime(minutes: number): string {
  const [hour, minute] = [Math.floor(minutes / 60), minutes % 60];
  return `${String(hour).padStart(2, "0")}:${String(minute).padStart(2, "0")}`;
}
