import { type AsyncBuffer, type FileMetaData, type ParquetParsers, parquetScan, parquetSchema } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { dayFromNumber } from "../calendar.ts";
import { ExtractError } from "./errors.ts";
import { openParquet, readable } from "./parquet_file.ts";
import type { TableFiles } from "./table_files.ts";

/** Some rows of a table, by column. */
export interface Batch {
  /** How many rows. */
  readonly rows: number;
  /** The values of each column that was asked for, in that order. */
  readonly columns: readonly ArrayLike<unknown>[];
}

const MS_PER_DAY = 86_400_000n;

function dayOf(count: bigint, perDay: bigint): string {
  const rest = ((count % perDay) + perDay) % perDay;
  return dayFromNumber(Number((count - rest) / perDay));
}

/** Dates and times become their day, as text, so that no time zone can move it; text must be UTF-8, since a replaced letter is another patient. */
const parsers: Partial<ParquetParsers> = {
  dateFromDays: dayFromNumber,
  timestampFromMilliseconds: (count) => dayOf(count, MS_PER_DAY),
  timestampFromMicroseconds: (count) => dayOf(count, MS_PER_DAY * 1_000n),
  timestampFromNanoseconds: (count) => dayOf(count, MS_PER_DAY * 1_000_000n),
  stringFromBytes: (bytes) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes),
};

/**
 * Checks that a table can be read and has the columns.
 *
 * @param table Its files.
 * @param columns Names; upper and lower case are the same.
 * @throws {ExtractError} `unreadable-parquet`, `column-missing`, `table-missing` or `access-refused`.
 */
export async function checkColumns(table: TableFiles, columns: readonly string[]): Promise<void> {
  for (const path of table.paths) {
    await using file = await openParquet(path);
    await scan(file, path, columns);
  }
}

/**
 * Reads columns of a table, one row group at a time; the other columns are not touched.
 *
 * @param table Its files.
 * @param columns Names; upper and lower case are the same.
 * @param options How to stop.
 * @returns The rows. Dates and times are `YYYY-MM-DD`, 64-bit integers are bigints, missing values are null or undefined.
 * @throws {ExtractError} As {@linkcode checkColumns}.
 */
export async function* readColumns(
  table: TableFiles,
  columns: readonly string[],
  options: { readonly signal?: AbortSignal } = {},
): AsyncGenerator<Batch> {
  for (const path of table.paths) {
    await using file = await openParquet(path);
    const { ranges, read } = await scan(file, path, columns);
    for (const range of ranges) {
      options.signal?.throwIfAborted();
      yield await read(range);
    }
  }
}

interface Range {
  readonly rowStart: number;
  readonly rowEnd: number;
}

async function scan(file: AsyncBuffer, path: string, columns: readonly string[]): Promise<{
  ranges: readonly Range[];
  read: (range: Range) => Promise<Batch>;
}> {
  const { found, present } = await readable(path, async () => {
    const found = await parquetScan({ file, compressors, parsers, useOffsetIndex: false });
    return { found, present: new Map(columnNames(found.metadata).map((name) => [name.toLowerCase(), name])) };
  });
  const names = columns.map((column) => {
    const name = present.get(column.toLowerCase());
    if (name !== undefined) return name;
    throw new ExtractError(
      "column-missing",
      `Cannot find column '${column}' in '${path}': ask for an extract that has it`,
    );
  });
  const read = (range: Range) =>
    readable(path, async () => {
      const rows = range.rowEnd - range.rowStart;
      const data: ArrayLike<unknown>[] = [];
      for (const column of names) {
        const values: ArrayLike<unknown> = await found.readColumn({ column, ...range });
        if (values.length !== rows) throw new Error(`'${column}' has ${values.length} values for ${rows} rows`);
        data.push(values);
      }
      return { rows, columns: data };
    });
  return { ranges: found.ranges, read };
}

/** Those at the top: a list or a struct has columns within. */
function columnNames(metadata: FileMetaData): string[] {
  return parquetSchema(metadata).children.map(({ element }) => element.name);
}
