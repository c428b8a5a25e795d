import { dayToNumber } from "./calendar.ts";

/**
 * Brings an ISO 8601 date and time into one form, so that equal times given in equal zones are equal as text.
 *
 * @param text `YYYY-MM-DD`, a `T` or a blank, `HH:MM:SS`, a fraction of up to six digits, and `Z`, an offset or nothing.
 * @returns `YYYY-MM-DDTHH:MM:SS`, the fraction without trailing zeros, `Z` for offset zero; a time without offset stays without. `undefined` if it
 * is not such a text or no time that exists.
 */
export function normaliseTimestamp(text: string): string | undefined {
  const parts = FORM.exec(text.trim());
  if (parts === null) return undefined;
  const [, day = "", time = "", digits = "", zone = ""] = parts;
  if (dayToNumber(day) === undefined) return undefined;
  const fraction = digits.replace(/0+$/, "");
  const offset = /^[+-]00:?00$/.test(zone) ? "Z" : zone.replace(/^([+-]\d{2})(\d{2})$/, "$1:$2");
  return `${day}T${time}${fraction && `.${fraction}`}${offset}`;
}

/**
 * Compares two times: as instants where both have an offset, else as they stand on the clock.
 *
 * @param a A time, normalised. @param b Another.
 * @returns Negative if `a` is earlier, 0 if they are equal, positive if it is later.
 */
export function compareTimestamps(a: string, b: string): number {
  const [left, right] = [partsOf(a), partsOf(b)];
  const zoned = left.zone !== "" && right.zone !== "";
  // Without one, as if it were in one zone: to the second, since a Date has no microseconds.
  const seconds = ({ second, zone }: TimeParts) => Date.parse(`${second}${zoned ? zone : "Z"}`);
  return seconds(left) - seconds(right) || Number(`0.${left.fraction}`) - Number(`0.${right.fraction}`);
}

interface TimeParts {
  readonly second: string;
  readonly fraction: string;
  readonly zone: string;
}

function partsOf(time: string): TimeParts {
  const [, day, clock, fraction = "", zone = ""] = FORM.exec(time) ?? [];
  return { second: `${day}T${clock}`, fraction, zone };
}

/** No zone is a day away. */
const FORM =
  /^(\d{4}-\d{2}-\d{2})[T ]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d{1,6}))?(Z|[+-](?:[01]\d|2[0-3]):?[0-5]\d)?$/;
