// @ts-types="./parquetjs.d.ts"
import { ParquetSchema } from "@dsnp/parquetjs/schema";
// @ts-types="./parquetjs.d.ts"
import { ParquetEnvelopeWriter, ParquetWriter, type RowBuffer } from "@dsnp/parquetjs/writer";
import type { ColumnType, Encodable, TableSchema } from "./table_schema.ts";

/** Most rows in a row group. As many as parquetjs puts on a page, so that a group is one page. */
export const MAX_GROUP_ROWS = 8192;

/** One column of a row group. */
export interface ColumnValues {
  /** The values that are there. */
  readonly values: Encodable[];
  /** For every row 1 if its value is there, else 0. */
  readonly present: number[];
}

/** Writes row groups, then the end of the file. */
export interface ParquetEncoder {
  /** @param rows How many, at most {@linkcode MAX_GROUP_ROWS}. @param columns In the schema's order. */
  writeGroup(rows: number, columns: readonly ColumnValues[]): Promise<void>;
  /** Writes the footer. */
  finish(): Promise<void>;
}

const PARQUET_TYPES = {
  string: "UTF8",
  int32: "INT32",
  int64: "INT64",
  double: "DOUBLE",
  boolean: "BOOLEAN",
  date: "DATE",
  timestamp: "TIMESTAMP_MICROS",
} as const satisfies Record<ColumnType, string>;

const nothing = () => {};

/**
 * Begins a parquet file: SNAPPY, no statistics (they would copy whole reports into the footer, and parquetjs compares text wrongly), no page index.
 *
 * Of parquetjs it uses what is sound, the encoding of pages and metadata, and goes round its shredder of rows, which is slow, converts wrong values
 * silently, and takes names such as `constructor` for its own.
 *
 * @param schema The columns.
 * @param write Takes the bytes in their order.
 * @returns The encoder.
 */
export async function beginParquet(
  schema: TableSchema,
  write: (chunk: Uint8Array) => Promise<void>,
): Promise<ParquetEncoder> {
  const parquet = parquetSchema(schema);
  const output = {
    write: (chunk: Uint8Array, done: (error?: unknown) => void) => void write(chunk).then(() => done(), done),
    end: nothing,
  };
  const file = await ParquetEnvelopeWriter.openStream(parquet, output, { pageIndex: false, pageSize: MAX_GROUP_ROWS });
  file.bloomFilters = dictionary();
  await file.writeHeader();
  const writeFooter = file.writeFooter.bind(file, {});
  // Only a ParquetWriter encodes pages, and it does so when closed: one for each group, with nothing else left for it to do.
  Object.assign(file, {
    writeHeader: nothing,
    writeBloomFilters: nothing,
    writeIndex: nothing,
    writeFooter: nothing,
    close: nothing,
  });
  return {
    async writeGroup(rows, columns) {
      const group = new ParquetWriter(parquet, file, {});
      group.rowBuffer = rowBuffer(schema, rows, columns);
      await group.close();
    },
    async finish() {
      await writeFooter();
    },
  };
}

/** Columns are declared by number and renamed for the file: parquetjs keeps names as keys of plain objects. */
function parquetSchema(schema: TableSchema): ParquetSchema {
  const columns = schema.map(({ type, optional = false }, index) =>
    [`column${index}`, { type: PARQUET_TYPES[type], optional, compression: "SNAPPY", statistics: false }] as const
  );
  const parquet = new ParquetSchema(Object.fromEntries(columns));
  for (const [index, field] of parquet.fieldList.entries()) {
    field.name = schema[index]?.name ?? field.name;
    field.path = [field.name];
  }
  return parquet;
}

function rowBuffer(schema: TableSchema, rows: number, columns: readonly ColumnValues[]): RowBuffer {
  const buffer: RowBuffer = { rowCount: rows, pageRowCount: rows, columnData: dictionary(), pages: dictionary() };
  for (const [index, { values, present }] of columns.entries()) {
    const name = schema[index]?.name ?? "";
    buffer.columnData[name] = { values, dlevels: present, rlevels: [], distinct_values: new Set(), count: rows };
    buffer.pages[name] = [];
  }
  return buffer;
}

/** An object in which `constructor` is not found unless it was put there. */
function dictionary<T>(): Record<string, T> {
  return Object.create(null);
}
