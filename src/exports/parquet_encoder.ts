// @ts-types="./parquetjs_codecs.d.ts"
import codecs from "@dsnp/parquetjs/codec";
// @ts-types="./parquetjs.d.ts"
import { PARQUET_COMPRESSION_METHODS } from "@dsnp/parquetjs/compression";
// @ts-types="./parquetjs.d.ts"
import thrift from "@dsnp/parquetjs/thrift";
// @ts-types="./parquetjs.d.ts"
import { serializeThrift } from "@dsnp/parquetjs/util";
// @ts-types="./parquetjs.d.ts"
import { ParquetEnvelopeWriter, ParquetWriter, type RowBuffer } from "@dsnp/parquetjs/writer";
import { Buffer } from "node:buffer";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { VERSION } from "../version.ts";
import type { Statistics } from "./parquetjs.d.ts";
import { boundsOf } from "./column_statistics.ts";
import type { Encodable } from "./column_values.ts";
import { encodeLevels } from "./encode_levels.ts";
import { encodePlain } from "./encode_plain.ts";
import { ENCODING, parquetFields, schemaElements, storedAs } from "./parquet_fields.ts";
import { type Column, columnPath, type TableSchema } from "./table_schema.ts";

/** Most rows in a row group. As many as parquetjs puts on a page, so that a group is one page. */
export const MAX_GROUP_ROWS = 8192;

/** How pages are compressed. */
export type Compression = "none" | "snappy" | "gzip" | "zstd";

const COMPRESSIONS = {
  none: "UNCOMPRESSED",
  snappy: "SNAPPY",
  gzip: "GZIP",
  zstd: "ZSTD",
} as const satisfies Record<Compression, string>;

codecs[ENCODING] = { encodeValues: encodePlain };
const { RLE } = codecs;
codecs.RLE = {
  ...RLE,
  encodeValues: (type, values, options) =>
    options.disableEnvelope ? encodeLevels(values, options.bitWidth) : RLE.encodeValues(type, values, options),
};
thrift.Encoding[ENCODING] = thrift.Encoding.PLAIN ?? 0;
// parquetjs knows the codec's number, but brings no code for it.
PARQUET_COMPRESSION_METHODS.ZSTD = { deflate: (bytes) => zstdCompressSync(bytes), inflate: zstdDecompressSync };

/** One column of a row group. */
export interface ColumnValues {
  /** The values that are there. */
  readonly values: Encodable[];
  /** Parquet's definition level of every row, of a list of every element: how much of the path is there. */
  readonly definitions: number[];
  /** Of a list: 0 where a row begins, else 1. */
  readonly repetitions: number[];
}

/** How a file is written. */
export interface EncoderOptions {
  /** How pages are compressed. */
  readonly compression: Compression;
  /** Goes into the footer. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Writes row groups, then the end of the file. */
export interface ParquetEncoder {
  /** @param rows How many, at most {@linkcode MAX_GROUP_ROWS}. @param columns In the schema's order. */
  writeGroup(rows: number, columns: readonly ColumnValues[]): Promise<void>;
  /** Writes the footer. @param rows How many there were. */
  finish(rows: number): Promise<void>;
}

const nothing = () => {};

/**
 * Begins a parquet file, without page index: a group is one page, and parquetjs marks pages of more as empty that are not.
 *
 * Of parquetjs it uses what is sound, the encoding of pages and metadata. It goes round its shredder of rows, which is slow, converts wrong values
 * silently and takes names such as `constructor` for its own, and round its statistics, which compare text as UTF-16 and numbers as text.
 *
 * @param schema The columns.
 * @param write Takes the bytes in their order.
 * @param options Compression and metadata.
 * @returns The encoder.
 */
export async function beginParquet(
  schema: TableSchema,
  write: (chunk: Uint8Array) => Promise<void>,
  options: EncoderOptions,
): Promise<ParquetEncoder> {
  const parquet = { fieldList: parquetFields(schema, COMPRESSIONS[options.compression]) };
  const output = {
    write: (chunk: Uint8Array, done: (error?: unknown) => void) => void write(chunk).then(() => done(), done),
    end: nothing,
  };
  const file = await ParquetEnvelopeWriter.openStream(parquet, output, { pageIndex: false, pageSize: MAX_GROUP_ROWS });
  file.bloomFilters = dictionary();
  await file.writeHeader();
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
      file.rowGroups.at(-1)?.columns.forEach(({ meta_data }, index) => {
        const [column, data] = [schema[index], columns[index]];
        if (column && data && !column.list) meta_data.statistics = statisticsOf(column, data);
      });
    },
    async finish(rows) {
      await file.writeSection(encodeFooter(schema, file, { ...options.metadata, "pixl.rows": String(rows) }));
    },
  };
}

function statisticsOf(column: Column, { values, definitions }: ColumnValues): Statistics {
  const { type } = column;
  const { primitive } = storedAs(column);
  const wanted = type !== "json" && (column.statistics ?? type !== "string");
  const bounds = wanted ? boundsOf(values, (value) => encodeBound(primitive, value)) : undefined;
  const null_count = definitions.length - values.length;
  return new thrift.Statistics({ null_count, ...(bounds && { min_value: bounds.min, max_value: bounds.max }) });
}

/** As on a page, but without the length of a text. */
function encodeBound(primitive: string, value: Encodable): Uint8Array {
  const bytes = encodePlain(primitive, [value]);
  return primitive === "BYTE_ARRAY" ? bytes.subarray(4) : bytes;
}

/** The end of the file. parquetjs' own lacks the order of columns, without which careful readers pass over statistics. */
function encodeFooter(
  schema: TableSchema,
  file: ParquetEnvelopeWriter,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const footer = new thrift.FileMetaData();
  footer.version = 1;
  footer.schema = schemaElements(schema);
  footer.num_rows = file.rowCount;
  footer.row_groups = file.rowGroups;
  footer.key_value_metadata = Object.entries(metadata).map(([key, value]) => new thrift.KeyValue({ key, value }));
  footer.created_by = `@pixl/core version ${VERSION} (build @dsnp/parquetjs)`;
  footer.column_orders = schema.map(() => new thrift.ColumnOrder({ TYPE_ORDER: {} }));
  const bytes = serializeThrift(footer);
  const end = Buffer.alloc(8);
  end.writeUInt32LE(bytes.length);
  end.write("PAR1", 4);
  return Buffer.concat([bytes, end]);
}

function rowBuffer(schema: TableSchema, rows: number, columns: readonly ColumnValues[]): RowBuffer {
  const buffer: RowBuffer = { rowCount: rows, pageRowCount: rows, columnData: dictionary(), pages: dictionary() };
  for (const [index, column] of schema.entries()) {
    const { values = [], definitions = [], repetitions = [] } = columns[index] ?? {};
    const path = columnPath(column).join(",");
    buffer.columnData[path] = {
      ...{ values, dlevels: definitions, rlevels: repetitions, distinct_values: new Set(), count: rows },
    };
    buffer.pages[path] = [];
  }
  return buffer;
}

/** An object in which `constructor` is not found unless it was put there. */
function dictionary<T>(): Record<string, T> {
  return Object.create(null);
}
