import * as v from "valibot";
import { RateScheduleError } from "./errors.ts";
import { MINUTES_A_DAY, parseClockTime, parseDays, type Window } from "./week.ts";

/** A schedule's parts, each valid by itself. */
export interface ScheduleParts {
  readonly zone: string;
  readonly windows: readonly Window[];
  readonly otherwise: number;
}

const DAYS_REMEDY = "days are mon, tue, wed, thu, fri, sat and sun, as in 'mon-fri' or 'sat,sun'";
const TIME_REMEDY = "times go from 00:00 to 24:00";
const RATE_REMEDY = "a rate is a number of at least 0";
const ZONE_REMEDY = "it is no time zone of the IANA database, such as 'Europe/London'";

/** See `RateSchedule.parse`. */
export function readScheduleText(text: string): ScheduleParts {
  let zone: string | undefined;
  let otherwise: number | undefined;
  const windows: Window[] = [];
  for (const part of text.split(";").map((part) => part.trim())) {
    const [, rest] = /^otherwise\b\s*=?\s*(.*)$/i.exec(part) ?? [];
    if (rest !== undefined) {
      if (otherwise !== undefined) throw new RateScheduleError(part, "'otherwise' stands once");
      otherwise = readRate(rest, part);
    } else if (part !== "") {
      windows.push(readWindow(part, (named) => {
        if (zone !== undefined && zone !== named) throw new RateScheduleError(named, `the zone is '${zone}' already`);
        zone = readZone(named, named);
      }));
    }
  }
  if (otherwise === undefined) {
    throw new RateScheduleError(text, "end it with 'otherwise' and the rate of all other times");
  }
  if (zone === undefined) {
    throw new RateScheduleError(text, "its first window must name the time zone, as 'Europe/London'");
  }
  return { zone, windows, otherwise };
}

function readWindow(source: string, setZone: (zone: string) => void): Window {
  const [when = "", rate, more] = source.split("=");
  if (rate === undefined || more !== undefined) throw new RateScheduleError(source, "write 'DAYS FROM-TO ZONE = RATE'");
  let days: readonly number[] | undefined;
  let times: readonly [number, number] | undefined;
  for (const word of when.split(/\s+/).filter((word) => word !== "")) {
    if (/^\d/.test(word)) {
      if (times !== undefined) throw new RateScheduleError(word, "a window has one pair of times");
      const [from = "", to = "", extra] = word.split("-");
      times = readTimes(from, to, [from, to]);
      if (extra !== undefined) throw new RateScheduleError(word, TIME_REMEDY);
    } else if (/^(mon|tue|wed|thu|fri|sat|sun)([-,]|$)/i.test(word)) {
      if (days !== undefined) throw new RateScheduleError(word, "separate days by commas, without blanks");
      days = parseDays(word);
      if (days === undefined) throw new RateScheduleError(word, DAYS_REMEDY);
    } else setZone(word);
  }
  const [from, to] = times ?? [0, MINUTES_A_DAY];
  return { days: days ?? [0, 1, 2, 3, 4, 5, 6], from, to, rate: readRate(rate.trim(), source), source };
}

/** @param places What to quote for each. */
function readTimes(from: string, to: string, places: readonly [string, string]): readonly [number, number] {
  const [start, end] = [parseClockTime(from), parseClockTime(to)];
  if (start === undefined || start === MINUTES_A_DAY) throw new RateScheduleError(places[0], TIME_REMEDY);
  if (end === undefined) throw new RateScheduleError(places[1], TIME_REMEDY);
  if (start === end) {
    throw new RateScheduleError(
      places[1],
      "a window ends at another time than it begins; the whole day is 00:00-24:00",
    );
  }
  return [start, end];
}

function readRate(text: string, place: string): number {
  const rate = text === "" ? NaN : Number(text);
  if (!Number.isFinite(rate) || rate < 0) throw new RateScheduleError(text || place, RATE_REMEDY);
  return rate;
}

function readZone(zone: string, place: string): string {
  try {
    // An offset is no zone: it knows nothing of summer time.
    if (/^[A-Za-z]/.test(zone)) return Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(zone).timeZoneId;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  throw new RateScheduleError(place, ZONE_REMEDY);
}

const JSON_SHAPE = v.strictObject({
  zone: v.string(),
  windows: v.pipe(
    v.array(v.strictObject({
      days: v.optional(v.string(), "mon-sun"),
      from: v.optional(v.string(), "00:00"),
      to: v.optional(v.string(), "24:00"),
      rate: v.pipe(v.number(RATE_REMEDY), v.finite(RATE_REMEDY), v.minValue(0, RATE_REMEDY)),
    })),
    v.minLength(1, "a schedule has at least one window"),
  ),
  otherwise: v.pipe(v.number(RATE_REMEDY), v.finite(RATE_REMEDY), v.minValue(0, RATE_REMEDY)),
});

/** See `RateSchedule.fromJson`. */
export function readScheduleJson(json: unknown): ScheduleParts {
  const read = v.safeParse(JSON_SHAPE, json);
  if (!read.success) {
    const [issue] = read.issues;
    const place = issue.path?.map(({ key }) => typeof key === "number" ? `[${key}]` : `.${String(key)}`).join("") ?? "";
    throw new RateScheduleError(place.replace(/^\./, "") || "the whole", issue.message);
  }
  const { zone, windows, otherwise } = read.output;
  return {
    zone: readZone(zone, "zone"),
    windows: windows.map(({ days, from, to, rate }, i) => {
      const place = `windows[${i}]`;
      const [start, end] = readTimes(from, to, [`${place}.from`, `${place}.to`]);
      const numbers = parseDays(days);
      if (numbers === undefined) throw new RateScheduleError(`${place}.days`, DAYS_REMEDY);
      return { days: numbers, from: start, to: end, rate, source: place };
    }),
    otherwise,
  };
}
