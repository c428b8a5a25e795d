import { normaliseTimestamp } from "../timestamp.ts";
import { dayToNumber } from "../calendar.ts";
import { TableError } from "./errors.ts";

/**
 * What a column holds, and what is accepted for it. Nothing is converted silently.
 *
 * | type        | accepted                                                        | Parquet                          |
 * |-------------|-----------------------------------------------------------------|----------------------------------|
 * | `string`    | text without lone surrogates                                    | BYTE_ARRAY, UTF8                 |
 * | `int32`     | whole numbers from -2^31 to 2^31 - 1                            | INT32                            |
 * | `int64`     | bigints of 64 bits, and safe whole numbers                      | INT64                            |
 * | `double`    | numbers, not NaN                                                | DOUBLE                           |
 * | `boolean`   | `true` and `false`                                              | BOOLEAN                          |
 * | `date`      | `YYYY-MM-DD` of a day that exists                               | INT32, DATE                      |
 * | `timestamp` | a `Date`, or ISO 8601 text; without offset it is taken for UTC | INT64, TIMESTAMP_MICROS          |
 */
export type ColumnType = "string" | "int32" | "int64" | "double" | "boolean" | "date" | "timestamp";

/** A column of a table. */
export interface Column {
  /** Its name. */
  readonly name: string;
  /** What it holds. */
  readonly type: ColumnType;
  /** Whether values may be missing: null or undefined. @default {false} */
  readonly optional?: boolean;
}

/** The columns of a table, in their order. */
export type TableSchema = readonly Column[];

/** What is accepted for a column of each type. */
export interface ValueOf {
  /** Text. */
  string: string;
  /** A whole number. */
  int32: number;
  /** A whole number. */
  int64: number | bigint;
  /** A number. */
  double: number;
  /** True or false. */
  boolean: boolean;
  /** `YYYY-MM-DD`. */
  date: string;
  /** A date and time. */
  timestamp: Date | string;
}

/** What a row of such a table looks like. */
export type Row<S extends TableSchema> =
  & { readonly [C in S[number] as C extends { optional: true } ? never : C["name"]]: ValueOf[C["type"]] }
  & { readonly [C in S[number] as C extends { optional: true } ? C["name"] : never]?: ValueOf[C["type"]] | null };

/** A value as parquetjs' encoders take it. */
export type Encodable = string | number | bigint | boolean;

/** Gives the encodable form of a value, or `undefined` if the column cannot hold it. */
export type Converter = (value: unknown) => Encodable | undefined;

const MAX_INT32 = 2 ** 31 - 1;
const MAX_INT64 = 2n ** 63n - 1n;

/** The converter of each type, with the words for what it accepts. */
export const CONVERTERS: Readonly<Record<ColumnType, readonly [Converter, string]>> = {
  string: [(value) => typeof value === "string" && value.isWellFormed() ? value : undefined, "text in valid Unicode"],
  int32: [
    (value) => Number.isInteger(value) && Math.abs(Number(value) + 0.5) <= MAX_INT32 + 0.5 ? Number(value) : undefined,
    "a whole number of 32 bits",
  ],
  int64: [(value) => {
    if (typeof value === "number") return Number.isSafeInteger(value) ? BigInt(value) : undefined;
    return typeof value === "bigint" && value <= MAX_INT64 && value >= -MAX_INT64 - 1n ? value : undefined;
  }, "a whole number of 64 bits"],
  double: [(value) => typeof value === "number" && !Number.isNaN(value) ? value : undefined, "a number"],
  boolean: [(value) => typeof value === "boolean" ? value : undefined, "true or false"],
  date: [(value) => typeof value === "string" ? dayToNumber(value) : undefined, "a day as YYYY-MM-DD"],
  timestamp: [microseconds, "a valid date and time"],
};

function microseconds(value: unknown): bigint | undefined {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? undefined : BigInt(value.getTime()) * 1_000n;
  const text = typeof value === "string" ? normaliseTimestamp(value) : undefined;
  const parts = /^(.{19})(?:\.(\d+))?(.*)$/.exec(text ?? "");
  if (parts === null) return undefined;
  const [, time = "", fraction = "", zone = ""] = parts;
  const ms = Date.parse(`${time}${zone || "Z"}`);
  return Number.isNaN(ms) ? undefined : BigInt(ms) * 1_000n + BigInt(fraction.padEnd(6, "0"));
}

/**
 * Checks a schema.
 *
 * @param schema The columns.
 * @throws {TableError} `bad-schema` if there is no column, or a name is empty or twice there.
 */
export function checkSchema(schema: TableSchema): void {
  if (schema.length === 0) throw new TableError("bad-schema", "Cannot write a table without columns");
  const names = new Set<string>();
  for (const { name } of schema) {
    if (name === "" || names.has(name)) {
      throw new TableError(
        "bad-schema",
        `Cannot write a table with the column name '${name}': names must be there, and once`,
      );
    }
    names.add(name);
  }
}
