import { RateScheduleError } from "./errors.ts";
import { readScheduleJson, readScheduleText } from "./read_schedule.ts";
import { clockTime, dayRange, MINUTES_A_DAY, MINUTES_A_WEEK, type Window } from "./week.ts";

/** A {@linkcode RateSchedule} as JSON. */
export interface RateScheduleJson {
  /** Name of the time zone in the IANA database, such as `Europe/London`. */
  readonly zone: string;
  /** When another rate holds. */
  readonly windows: readonly {
    /** Such as `mon-fri` or `sat,sun`. @default {"mon-sun"} */
    readonly days?: string;
    /** Local time, `hh:mm`. @default {"00:00"} */
    readonly from?: string;
    /** Local time, `hh:mm`, up to `24:00`; before `from` it is that of the next day. @default {"24:00"} */
    readonly to?: string;
    /** Tokens a second. */
    readonly rate: number;
  }[];
  /** Tokens a second at all other times. */
  readonly otherwise: number;
}

interface Interval {
  /** Minutes since Monday, 00:00. */
  readonly start: number;
  readonly end: number;
  readonly window: Window;
}

/** Days to look back and ahead for a change: one more than a week, since each window comes every week. */
const HORIZON_DAYS = 8;

/**
 * Rates by weekday and local time, so that an archive is asked gently while clinics work. Local time is what the clocks on the wall show: an hour that
 * they show twice in autumn counts twice, one that they skip in spring does not come.
 *
 * @example
 * ```ts
 * import { RateSchedule } from "@pixl/core/rate-limiter";
 * import { assertEquals } from "@std/assert";
 *
 * const schedule = RateSchedule.parse("mon-fri 08:00-18:00 Europe/London = 1; otherwise 5");
 * assertEquals(schedule.rateAt(Date.parse("2026-07-01T07:30:00Z")), 1); // 08:30 in summer
 * assertEquals(schedule.rateAt(Date.parse("2026-12-01T07:30:00Z")), 5); // 07:30 in winter
 * ```
 */
export class RateSchedule {
  readonly #zone: string;
  readonly #windows: readonly Window[];
  readonly #otherwise: number;
  readonly #intervals: readonly Interval[];

  private constructor(zone: string, windows: readonly Window[], otherwise: number) {
    this.#zone = zone;
    this.#windows = windows;
    this.#otherwise = otherwise;
    this.#intervals = windows.flatMap(intervalsOf).toSorted((a, b) => a.start - b.start);
    this.#intervals.reduce((before, interval) => {
      if (interval.start < before.end) {
        throw new RateScheduleError(interval.window.source, `it overlaps '${before.window.source}'`);
      }
      return interval;
    }, { start: 0, end: 0, window: { days: [], from: 0, to: 0, rate: 0, source: "" } });
  }

  /**
   * Reads `DAYS FROM-TO ZONE = RATE; …; otherwise RATE`. Days (`mon-fri`, `sat,sun`) and times (`08:00-18:00`, `22:00-06:00`) may be left out for all
   * days and the whole day; the zone stands in the first window and holds for all.
   *
   * @param text The schedule.
   * @throws {RateScheduleError} If it cannot be read, or windows overlap; it quotes the part at fault.
   */
  static parse(text: string): RateSchedule {
    const { zone, windows, otherwise } = readScheduleText(text);
    return new RateSchedule(zone, windows, otherwise);
  }

  /**
   * Reads a {@linkcode RateScheduleJson}.
   *
   * @param json What `JSON.parse` gave.
   * @throws {RateScheduleError} If it is something else, or windows overlap; it names the part at fault, such as `windows[1].from`.
   */
  static fromJson(json: unknown): RateSchedule {
    const { zone, windows, otherwise } = readScheduleJson(json);
    return new RateSchedule(zone, windows, otherwise);
  }

  /** The rate at a time. @param at Milliseconds since 1970. @returns Tokens a second. */
  rateAt(at: number): number {
    return this.#intervalAt(at)?.window.rate ?? this.#otherwise;
  }

  /** When the window of a time began. @param at Milliseconds since 1970. @returns The same; `-Infinity` if it was always so. */
  since(at: number): number {
    return this.#edges(at).findLast((edge) => edge <= at && this.#changesAt(edge)) ?? -Infinity;
  }

  /** When the next window begins. @param at Milliseconds since 1970. @returns The same, after `at`; `Infinity` if it stays so for ever. */
  until(at: number): number {
    return this.#edges(at).find((edge) => edge > at && this.#changesAt(edge)) ?? Infinity;
  }

  /** As {@linkcode RateSchedule.parse} reads it. */
  toString(): string {
    const windows = this.#windows.map(({ days, from, to, rate }, i) =>
      [dayRange(days), `${clockTime(from)}-${clockTime(to)}`, ...(i === 0 ? [this.#zone] : []), "=", rate].join(" ")
    );
    return [...windows, `otherwise ${this.#otherwise}`].join("; ");
  }

  /** As {@linkcode RateSchedule.fromJson} reads it. */
  toJSON(): RateScheduleJson {
    return {
      zone: this.#zone,
      windows: this.#windows.map(({ days, from, to, rate }) => ({
        days: dayRange(days),
        from: clockTime(from),
        to: clockTime(to),
        rate,
      })),
      otherwise: this.#otherwise,
    };
  }

  #intervalAt(at: number): Interval | undefined {
    const local = Temporal.Instant.fromEpochMilliseconds(Math.floor(at)).toZonedDateTimeISO(this.#zone);
    const minute = (local.dayOfWeek - 1) * MINUTES_A_DAY + local.hour * 60 + local.minute;
    return this.#intervals.find(({ start, end }) => start <= minute && minute < end);
  }

  /** One day's part of a window may go on in the next day's. */
  #changesAt(edge: number): boolean {
    return this.#intervalAt(edge - 1)?.window !== this.#intervalAt(edge)?.window;
  }

  /** Times around one, in order, at which a window may begin or end: its local times, and the changes of the zone's clocks. */
  #edges(at: number): number[] {
    const zone = this.#zone;
    const today = Temporal.Instant.fromEpochMilliseconds(Math.floor(at)).toZonedDateTimeISO(zone);
    const edges = new Set<number>();
    for (let day = -HORIZON_DAYS; day <= HORIZON_DAYS; day++) {
      const date = today.toPlainDate().add({ days: day });
      const monday = date.subtract({ days: date.dayOfWeek - 1 });
      for (const minute of this.#intervals.flatMap(({ start, end }) => [start, end])) {
        if (Math.floor(minute / MINUTES_A_DAY) % 7 !== date.dayOfWeek - 1) continue;
        const local = monday.toPlainDateTime().add({ minutes: minute % MINUTES_A_WEEK });
        // A local time that comes twice is two; one that is skipped is replaced by the change of the clocks.
        for (const disambiguation of ["earlier", "later"] as const) {
          edges.add(local.toZonedDateTime(zone, { disambiguation }).epochMilliseconds);
        }
      }
    }
    const end = today.add({ days: HORIZON_DAYS });
    let change = today.subtract({ days: HORIZON_DAYS }).getTimeZoneTransition("next");
    for (; change !== null && Temporal.ZonedDateTime.compare(change, end) <= 0;) {
      edges.add(change.epochMilliseconds);
      change = change.getTimeZoneTransition("next");
    }
    return [...edges].toSorted((a, b) => a - b);
  }
}

/** One a day; a part that reaches into the next week is put at this week's beginning. */
function intervalsOf(window: Window): Interval[] {
  return window.days.flatMap((day) => {
    const start = day * MINUTES_A_DAY + window.from;
    const end = day * MINUTES_A_DAY + (window.to > window.from ? window.to : window.to + MINUTES_A_DAY);
    return end <= MINUTES_A_WEEK
      ? [{ start, end, window }]
      : [{ start, end: MINUTES_A_WEEK, window }, { start: 0, end: end - MINUTES_A_WEEK, window }];
  });
}
