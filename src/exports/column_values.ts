import { dayToNumber } from "../calendar.ts";
import { normaliseTimestamp } from "../timestamp.ts";
import { type ColumnType, type DecimalSize, decimalSize } from "./table_schema.ts";

/** A value as parquetjs' encoders take it; a decimal of more than 18 digits still as a number. */
export type Encodable = string | number | bigint | boolean;

/** Gives the encodable form of a value, or `undefined` if the column cannot hold it. */
export type Converter = (value: unknown) => Encodable | undefined;

const MAX_INT32 = 2 ** 31 - 1;
const MAX_INT64 = 2n ** 63n - 1n;

/** Most levels of a JSON value: readers recurse. */
const MAX_DEPTH = 100;

const CONVERTERS: Readonly<Record<string, readonly [Converter, string]>> = {
  string: [(value) => typeof value === "string" && value.isWellFormed() ? value : undefined, "text in valid Unicode"],
  int32: [
    (value) => Number.isInteger(value) && Math.abs(Number(value) + 0.5) <= MAX_INT32 + 0.5 ? Number(value) : undefined,
    "a whole number of 32 bits",
  ],
  int64: [(value) => {
    if (typeof value === "number") return Number.isSafeInteger(value) ? value : undefined;
    return typeof value === "bigint" && value <= MAX_INT64 && value >= -MAX_INT64 - 1n ? value : undefined;
  }, "a whole number of 64 bits"],
  double: [(value) => typeof value === "number" && !Number.isNaN(value) ? value : undefined, "a number"],
  boolean: [(value) => typeof value === "boolean" ? value : undefined, "true or false"],
  date: [(value) => typeof value === "string" ? dayToNumber(value) : undefined, "a day as YYYY-MM-DD"],
  timestamp: [microseconds, "a valid date and time"],
  json: [
    (value) => value !== null && isJson(value, MAX_DEPTH) ? JSON.stringify(value) : undefined,
    "what JSON can hold",
  ],
};

/**
 * The converter of a type.
 *
 * @param type The column's type, checked.
 * @returns It, and the words for what it accepts.
 */
export function converterOf(type: ColumnType): readonly [Converter, string] {
  const size = decimalSize(type);
  if (size !== undefined) {
    const { precision, scale } = size;
    return [decimal(size), `a number of at most ${precision} digits, ${scale} of them behind the point`];
  }
  const found = CONVERTERS[type];
  if (found === undefined) throw new RangeError(`Unknown type '${type}'`);
  return found;
}

function microseconds(value: unknown): number | bigint | undefined {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? undefined : micros(value.getTime());
  const text = typeof value === "string" ? normaliseTimestamp(value) : undefined;
  const parts = /^(.{19})(?:\.(\d+))?(.*)$/.exec(text ?? "");
  if (parts === null) return undefined;
  const [, time = "", fraction = "", zone = ""] = parts;
  const ms = Date.parse(`${time}${zone || "Z"}`);
  return Number.isNaN(ms) ? undefined : BigInt(ms) * 1_000n + BigInt(fraction.padEnd(6, "0"));
}

/** Bigints cost more, and are wanted only for years after 2255. */
function micros(ms: number): number | bigint {
  const count = ms * 1_000;
  return Number.isSafeInteger(count) ? count : BigInt(ms) * 1_000n;
}

/** The unscaled number. A double counts as the shortest decimal that it is written as: 0.29 is 0.29. */
function decimal({ precision, scale }: DecimalSize): Converter {
  const limit = 10n ** BigInt(precision);
  return (value) => {
    if (!["string", "number", "bigint"].includes(typeof value)) return undefined;
    const text = typeof value === "number" ? withoutExponent(String(value)) : String(value);
    const parts = /^(-?)(\d{1,40})(?:\.(\d{1,40}))?$/.exec(text);
    if (parts === null) return undefined;
    const [, sign = "", whole = "", fraction = ""] = parts;
    if (fraction.length > scale) return undefined;
    const number = BigInt(whole + fraction.padEnd(scale, "0"));
    return number < limit ? (sign === "-" ? -number : number) : undefined;
  };
}

/** JavaScript writes numbers from 1e21, and below 1e-6, with an exponent. */
function withoutExponent(text: string): string {
  const [, sign = "", whole = "", fraction = "", exponent] = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text) ?? [];
  if (exponent === undefined) return text;
  const digits = whole + fraction;
  const zeros = Number(exponent);
  return zeros < 0 ? `${sign}0.${"0".repeat(-zeros - 1)}${digits}` : `${sign}${digits.padEnd(zeros + 1, "0")}`;
}

/** Whether `JSON.stringify` says all of it: it drops functions, makes null of NaN and text of dates. */
function isJson(value: unknown, depth: number): boolean {
  if (value === null || typeof value === "boolean") return true;
  if (typeof value === "string") return value.isWellFormed();
  if (typeof value === "number") return Number.isFinite(value) && !Object.is(value, -0);
  if (typeof value !== "object" || depth === 0 || "toJSON" in value) return false;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (!isJson(value[i], depth - 1)) return false;
    return true;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  return Reflect.ownKeys(value).every((key) => typeof key === "string" && key.isWellFormed()) &&
    Object.values(value).every((member) => isJson(member, depth - 1));
}
