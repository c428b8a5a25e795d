import {
  DuckDBDateValue,
  DuckDBDecimalValue,
  DuckDBInstance,
  DuckDBListValue,
  DuckDBTimestampValue,
} from "@duckdb/node-api";
import { type Data, DataType, tableFromIPC, type Vector } from "apache-arrow";
import { asyncBufferFromFile, parquetRead } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { readParquet } from "parquet-wasm";
import { dayFromNumber } from "../../src/calendar.ts";

/** A cell in one form for all readers: null, text, or a list of these. Times are microseconds, decimals have their digits, JSON is its text. */
export type Cell = string | null | readonly Cell[];

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads all rows by hyparquet. It makes doubles of decimals. */
export async function readByHyparquet(path: string): Promise<Cell[][]> {
  const rows: unknown[][] = [];
  await parquetRead({
    file: await asyncBufferFromFile(path),
    compressors,
    parsers: {
      dateFromDays: dayFromNumber,
      timestampFromMicroseconds: (micros: bigint) => micros,
      stringFromBytes: (bytes: Uint8Array) => decoder.decode(bytes),
      jsonFromBytes: (bytes: Uint8Array) => decoder.decode(bytes),
    } as never,
    onComplete: (all) => rows.push(...(all as unknown[][])),
  });
  return rows.map((row) => row.map(cell));
}

/** Reads all rows by parquet-wasm, which is the parquet of Rust. */
export async function readByArrow(path: string): Promise<Cell[][]> {
  const table = tableFromIPC(readParquet(await Deno.readFile(path)).intoIPCStream());
  const columns = table.schema.fields.map((_, index) => arrowCells(table.getChildAt(index)));
  return Array.from({ length: table.numRows }, (_, row) => columns.map((column) => column[row] ?? null));
}

function arrowCells(vector: Vector | null): Cell[] {
  return (vector?.data ?? []).flatMap((data) => Array.from({ length: data.length }, (_, i) => arrowCell(data, i)));
}

function arrowCell(data: Data, i: number): Cell {
  if (!data.getValid(i)) return null;
  const { type, values, children, valueOffsets } = data;
  if (DataType.isList(type)) {
    const [child] = children;
    const [start = 0, end = 0] = [valueOffsets[i], valueOffsets[i + 1]];
    return child === undefined ? [] : Array.from({ length: end - start }, (_, k) => arrowCell(child, start + k));
  }
  if (DataType.isUtf8(type)) return decoder.decode(values.subarray(valueOffsets[i], valueOffsets[i + 1]));
  if (DataType.isBool(type)) return String(((values[(data.offset + i) >> 3] >> ((data.offset + i) & 7)) & 1) === 1);
  if (DataType.isDate(type)) return dayFromNumber(values[i]);
  if (DataType.isDecimal(type)) {
    const words = Array.from<number, bigint>(values.subarray(i * 4, i * 4 + 4), BigInt);
    return scaled(BigInt.asIntN(128, words.reduceRight((sum, word) => (sum << 32n) | word, 0n)), type.scale);
  }
  return cell(values[i]);
}

/** DuckDB, opened once. */
export async function openDuckDb(): Promise<
  { read(path: string): Promise<Cell[][]>; ask(sql: string): Promise<Cell[][]> } & AsyncDisposable
> {
  const instance = await DuckDBInstance.create(":memory:");
  const connection = await instance.connect();
  const ask = async (sql: string) => (await connection.runAndReadAll(sql)).getRows().map((row) => row.map(cell));
  return {
    ask,
    read: (path) => ask(`from read_parquet('${path}')`),
    [Symbol.asyncDispose]: () => {
      connection.closeSync();
      instance.closeSync();
      return Promise.resolve();
    },
  };
}

function cell(value: unknown): Cell {
  if (value === null || value === undefined) return null;
  if (Array.isArray(value)) return value.map(cell);
  if (value instanceof DuckDBListValue) return value.items.map(cell);
  if (value instanceof DuckDBDateValue) return dayFromNumber(value.days);
  if (value instanceof DuckDBTimestampValue) return String(value.micros);
  if (value instanceof DuckDBDecimalValue) return scaled(value.value, value.scale);
  return Object.is(value, -0) ? "-0" : String(value);
}

/** A decimal's text. */
export function scaled(value: bigint, scale: number): string {
  const digits = String(value < 0n ? -value : value).padStart(scale + 1, "0");
  const point = digits.length - scale;
  return `${value < 0n ? "-" : ""}${digits.slice(0, point)}${scale > 0 ? `.${digits.slice(point)}` : ""}`;
}
