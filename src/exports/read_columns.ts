import { type FileMetaData, type ParquetParsers, parquetSchema, type RowGroup } from "hyparquet";
import { DEFAULT_PARSERS } from "hyparquet/convert";
import { dayFromNumber } from "../calendar.ts";
import { readChunk } from "./column_chunk.ts";
import { ExtractError } from "./errors.ts";
import { openParquet, type ParquetFile, readable, readFooter } from "./parquet_file.ts";
import type { TableFiles } from "./table_files.ts";

/** Some rows of a table, by column. */
export interface Batch {
  /** The file that they are in. */
  readonly path: string;
  /** How many rows. */
  readonly rows: number;
  /** The values of each column that was asked for, in that order. */
  readonly columns: readonly ArrayLike<unknown>[];
}

/** More rows in a group than any writer makes would only be memory. */
const MAX_GROUP_ROWS = 1 << 26;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const MS_PER_DAY = 86_400_000n;

/** The day; what no day is, so that it is refused, if the year has not four digits. */
function dayOf(count: bigint, perDay: bigint): string {
  const rest = ((count % perDay) + perDay) % perDay;
  return dayFromNumber(Number((count - rest) / perDay)) || "outside";
}

/** Dates and times become their day, as text, so that no time zone can move it; text must be UTF-8, since a replaced letter is another patient. */
export const DAY_PARSERS: ParquetParsers = {
  ...DEFAULT_PARSERS,
  dateFromDays: (days) => dayFromNumber(days) || "outside",
  timestampFromMilliseconds: (count) => dayOf(count, MS_PER_DAY),
  timestampFromMicroseconds: (count) => dayOf(count, MS_PER_DAY * 1_000n),
  timestampFromNanoseconds: (count) => dayOf(count, MS_PER_DAY * 1_000_000n),
  stringFromBytes: (bytes) => utf8.decode(bytes),
};

/**
 * Checks that a table can be read and has the columns.
 *
 * @param table Its files.
 * @param columns Names; upper and lower case are the same.
 * @throws {ExtractError} `unreadable-parquet`, `column-missing`, `wrong-type`, `table-missing` or `access-refused`.
 */
export async function checkColumns(table: TableFiles, columns: readonly string[]): Promise<void> {
  for (const path of table.paths) {
    await using file = await openParquet(path);
    findColumns(await readFooter(file, path), path, columns);
  }
}

/**
 * Reads columns of a table, one row group at a time; the other columns are not touched.
 *
 * @param table Its files.
 * @param columns Names; upper and lower case are the same.
 * @param options How to stop.
 * @returns The rows. Dates and times are `YYYY-MM-DD`, 64-bit integers are bigints, missing values are null.
 * @throws {ExtractError} As {@linkcode checkColumns}; naming the file and the column that is damaged.
 */
export async function* readColumns(
  table: TableFiles,
  columns: readonly string[],
  options: { readonly signal?: AbortSignal } = {},
): AsyncGenerator<Batch> {
  for (const path of table.paths) {
    await using file = await openParquet(path);
    const metadata = await readFooter(file, path);
    const names = findColumns(metadata, path, columns);
    for (const group of metadata.row_groups) {
      options.signal?.throwIfAborted();
      const rows = Number(group.num_rows);
      if (rows === 0) continue;
      const data: ArrayLike<unknown>[] = [];
      for (const name of names) {
        data.push(await readable(path, () => readGroup(file, metadata, group, name), name));
      }
      yield { path, rows, columns: data };
    }
  }
}

/** The names in the file of columns that hold one value a row. */
function findColumns(metadata: FileMetaData, path: string, columns: readonly string[]): string[] {
  // Those at the top: a list or a struct has columns within.
  const present = parquetSchema(metadata).children;
  return columns.map((column) => {
    const [found, another] = present.filter(({ element }) => element.name.toLowerCase() === column.toLowerCase());
    if (found === undefined || another !== undefined) {
      const problem = found === undefined ? "Cannot find" : "Cannot choose between two of";
      throw new ExtractError(
        "column-missing",
        `${problem} column '${column}' in '${path}': ask for an extract that has it once`,
      );
    }
    if (found.children.length > 0 || found.element.repetition_type === "REPEATED") {
      throw new ExtractError("wrong-type", `Cannot use column '${column}' of '${path}': it must hold one value a row`);
    }
    return found.element.name;
  });
}

async function readGroup(
  file: ParquetFile,
  tree: FileMetaData,
  group: RowGroup,
  name: string,
): Promise<ArrayLike<unknown>> {
  const root = parquetSchema(tree);
  const column = root.children.find(({ element }) => element.name === name);
  const chunk = group.columns.find(({ meta_data }) =>
    meta_data?.path_in_schema.length === 1 && meta_data.path_in_schema[0] === name
  );
  const metadata = chunk?.meta_data;
  const rows = Number(group.num_rows);
  if (column === undefined || metadata === undefined || metadata.type !== column.element.type) {
    throw new RangeError("Column without data");
  }
  if (!(rows <= MAX_GROUP_ROWS && Number(metadata.num_values) === rows)) throw new RangeError("Wrong count of values");
  const { dictionary_page_offset: dictionary, data_page_offset: data } = metadata;
  const start = Number(dictionary !== undefined && dictionary > 0n && dictionary < data ? dictionary : data);
  const bytes = new Uint8Array(await file.slice(start, start + Number(metadata.total_compressed_size)));
  return readChunk({ bytes, metadata, schemaPath: [root, column], parsers: DAY_PARSERS }, rows);
}
