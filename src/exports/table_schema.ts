import { TableError } from "./errors.ts";

/**
 * What a column holds, and what is accepted for it. Nothing is converted silently.
 *
 * | type           | accepted                                                                                     | Parquet                 |
 * |----------------|----------------------------------------------------------------------------------------------|-------------------------|
 * | `string`       | text without lone surrogates                                                                 | BYTE_ARRAY, UTF8        |
 * | `int32`        | whole numbers from -2^31 to 2^31 - 1                                                         | INT32                   |
 * | `int64`        | bigints of 64 bits, and safe whole numbers                                                   | INT64                   |
 * | `double`       | numbers, not NaN                                                                             | DOUBLE                  |
 * | `boolean`      | `true` and `false`                                                                           | BOOLEAN                 |
 * | `date`         | `YYYY-MM-DD` of a day that exists; no `Date`, which is another day in another time zone      | INT32, DATE             |
 * | `timestamp`    | a `Date`, or ISO 8601 text; without offset it is taken for UTC                               | INT64, TIMESTAMP_MICROS |
 * | `decimal(p,s)` | text or a number of at most `s` digits behind the point and `p` in all, or a bigint; `p` to 38 | INT64 (`p` to 18) or FIXED_LEN_BYTE_ARRAY, DECIMAL |
 * | `json`         | what JSON can hold, but for null by itself                                                   | BYTE_ARRAY, JSON        |
 */
export type ColumnType =
  | "string"
  | "int32"
  | "int64"
  | "double"
  | "boolean"
  | "date"
  | "timestamp"
  | "json"
  | `decimal(${number},${number})`;

/** A column of a table. */
export interface Column {
  /** Its name. */
  readonly name: string;
  /** What it holds. */
  readonly type: ColumnType;
  /** Whether values may be missing: null or undefined. @default {false} */
  readonly optional?: boolean;
  /** Whether a value is a list of these; its elements must be there, it may be empty. @default {false} */
  readonly list?: boolean;
  /**
   * Whether each row group says its least and greatest value, by which readers skip groups. They stand in the file's footer, for everyone to read: not
   * for free text. Lists and `json` have none.
   *
   * @default {true, false for `string`}
   */
  readonly statistics?: boolean;
}

/** The columns of a table, in their order. */
export type TableSchema = readonly Column[];

/** What a column of type `json` can hold. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** What is accepted for a column of each type. */
export type ValueOf<T extends ColumnType> = T extends "string" | "date" ? string
  : T extends "int32" | "double" ? number
  : T extends "int64" ? number | bigint
  : T extends "boolean" ? boolean
  : T extends "timestamp" ? Date | string
  : T extends "json" ? Exclude<JsonValue, null>
  : string | number | bigint;

/** What is accepted for a column, or for each element of its list. */
export type CellOf<C extends Column> = C extends { list: true } ? readonly ValueOf<C["type"]>[] : ValueOf<C["type"]>;

/** What a row of such a table looks like. */
export type Row<S extends TableSchema> =
  & { readonly [C in S[number] as C extends { optional: true } ? never : C["name"]]: CellOf<C> }
  & { readonly [C in S[number] as C extends { optional: true } ? C["name"] : never]?: CellOf<C> | null };

/** Digits of a decimal, in all and behind the point. */
export interface DecimalSize {
  /** Digits in all, 1 to 38. */
  readonly precision: number;
  /** Of these behind the point. */
  readonly scale: number;
}

/**
 * Reads the size of a decimal from its type.
 *
 * @param type The column's type.
 * @returns The size; `undefined` if it is no decimal, or none that Parquet's readers take.
 */
export function decimalSize(type: ColumnType): DecimalSize | undefined {
  const [, precision = 0, scale = 0] = /^decimal\((\d+),(\d+)\)$/.exec(type)?.map(Number) ?? [];
  return precision >= 1 && precision <= 38 && scale <= precision ? { precision, scale } : undefined;
}

const SIMPLE_TYPES: readonly string[] = [
  ...["string", "int32", "int64", "double", "boolean", "date", "timestamp", "json"],
];

/**
 * Where a column's values are in the schema's tree: a list has two levels below its name.
 *
 * @param column The column.
 * @returns The names on the way.
 */
export function columnPath({ name, list = false }: Column): string[] {
  return list ? [name, "list", "element"] : [name];
}

/**
 * Checks a schema.
 *
 * @param schema The columns.
 * @throws {TableError} `bad-schema` if there is no column, a name is empty or twice there, or a type is none.
 */
export function checkSchema(schema: TableSchema): void {
  if (schema.length === 0) throw new TableError("bad-schema", "Cannot write a table without columns");
  const names = new Set<string>();
  const paths = new Set<string>();
  for (const column of schema) {
    const { name, type } = column;
    // parquetjs joins paths by commas.
    const path = columnPath(column).join(",");
    if (name === "" || !name.isWellFormed() || names.has(name) || paths.has(path)) {
      throw new TableError(
        "bad-schema",
        `Cannot write a table with the column name '${name.toWellFormed()}': names must be there, and once`,
      );
    }
    names.add(name);
    paths.add(path);
    if (!SIMPLE_TYPES.includes(type) && decimalSize(type) === undefined) {
      throw new TableError(
        "bad-schema",
        `Cannot write column '${name}' as '${type}': decimals have 1 to 38 digits, such as decimal(10,2)`,
      );
    }
  }
}
