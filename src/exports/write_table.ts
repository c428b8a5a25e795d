import { randomUUID } from "node:crypto";
import { open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { diskProblem, syncFolder } from "./disk.ts";
import { TableError } from "./errors.ts";
import { FileSink } from "./file_sink.ts";
import { beginParquet, type Compression, type EncoderOptions, MAX_GROUP_ROWS } from "./parquet_encoder.ts";
import { RowGroup } from "./row_group.ts";
import { VERSION } from "../version.ts";
import { checkSchema, type Row, type TableSchema } from "./table_schema.ts";

/** How a table is written. */
export interface WriteTableOptions {
  /** Most rows in a row group, 1 to 8192. @default {8192} */
  readonly maxGroupRows?: number;
  /** Size of a row group before compression, in bytes, about: long reports make it end early. @default {67_108_864} */
  readonly maxGroupBytes?: number;
  /** How pages are compressed. @default {"snappy"} */
  readonly compression?: Compression;
  /** Goes into the footer, beside `pixl.writer` and `pixl.rows`. @default {{}} */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Stops the writing; nothing is left of the file. */
  readonly signal?: AbortSignal;
}

/** A file that was written. */
export interface WrittenFile {
  /** How many rows. */
  readonly rows: number;
  /** Its size. */
  readonly bytes: number;
  /** SHA-256 of its content, in hexadecimal. */
  readonly sha256: string;
}

/**
 * Writes a parquet file. Under its name it is there whole or not at all: it is written beside it, brought to the disk, and renamed. Memory holds one
 * row group.
 *
 * @param path Where; a file that is there is replaced. The new one can be read by its owner only.
 * @param schema The columns.
 * @param rows The rows. Each is checked when it comes: the error names its number, from 1, and the column.
 * @param options Sizes, and how to stop.
 * @returns What was written.
 * @throws {TableError} `bad-schema`; `bad-value` for a value that the column cannot hold, an unknown name or a missing value; `write-failed` if the
 * disk is full or the like; `write-refused` if it must not be written there.
 * @throws What `rows` throws.
 *
 * @example
 * ```ts
 * import { writeTable } from "@pixl/core/exports";
 * import { assertEquals } from "@std/assert";
 *
 * const path = `${await Deno.makeTempDir()}/person.parquet`;
 * const { rows } = await writeTable(path, [{ name: "person_id", type: "int64" }], [{ person_id: 1 }, { person_id: 2n }]);
 * assertEquals(rows, 2);
 * ```
 */
export async function writeTable<const S extends TableSchema>(
  path: string,
  schema: S,
  rows: Iterable<Row<NoInfer<S>>> | AsyncIterable<Row<NoInfer<S>>>,
  options: WriteTableOptions = {},
): Promise<WrittenFile> {
  checkSchema(schema);
  const limits = checkLimits(options);
  options.signal?.throwIfAborted();
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.part`);
  const file = await onDisk(path, () => open(temporary, "wx", 0o600));
  try {
    const written = await writeRows(path, new FileSink(file), schema, rows, limits, options.signal);
    await onDisk(path, () => Deno.rename(temporary, path));
    await onDisk(path, () => syncFolder(dirname(path)));
    return written;
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  } finally {
    await file.close();
  }
}

/** When a row group ends, and how it is written. */
export interface GroupLimits extends EncoderOptions {
  /** At so many rows. */
  readonly rows: number;
  /** At so many bytes. */
  readonly bytes: number;
}

/** As {@linkcode writeTable}, into a file that is open. @param path Its name in errors. */
export async function writeRows(
  path: string,
  sink: FileSink,
  schema: TableSchema,
  rows: Iterable<unknown> | AsyncIterable<unknown>,
  limits: GroupLimits,
  signal?: AbortSignal,
): Promise<WrittenFile> {
  const encoder = await onDisk(path, () => beginParquet(schema, (chunk) => sink.write(chunk), limits));
  const group = new RowGroup(schema);
  let total = 0;
  const flush = async () => {
    signal?.throwIfAborted();
    const { rows, columns } = group.take();
    if (rows > 0) await onDisk(path, () => encoder.writeGroup(rows, columns));
  };
  const isFull = (row: unknown) => {
    group.add(row, ++total);
    return group.rows >= limits.rows || group.bytes >= limits.bytes;
  };
  // Waiting for each row where nothing is to be waited for takes as long as a tenth of all.
  if (Symbol.asyncIterator in rows) { for await (const row of rows) if (isFull(row)) await flush(); }
  else for (const row of rows) if (isFull(row)) await flush();
  await flush();
  await onDisk(path, () => encoder.finish(total));
  return { rows: total, sha256: await onDisk(path, () => sink.finish()), bytes: sink.bytes };
}

function checkLimits(
  { maxGroupRows = MAX_GROUP_ROWS, maxGroupBytes = 64 * 1024 * 1024, compression = "snappy", metadata = {} }:
    WriteTableOptions,
): GroupLimits {
  if (!Number.isInteger(maxGroupRows) || maxGroupRows < 1 || maxGroupRows > MAX_GROUP_ROWS) {
    throw new RangeError(
      `Cannot write a table as 'maxGroupRows' must be a whole number from 1 to ${MAX_GROUP_ROWS}: current value is ${maxGroupRows}`,
    );
  }
  if (!(maxGroupBytes >= 1)) {
    throw new RangeError(
      `Cannot write a table as 'maxGroupBytes' must be at least 1: current value is ${maxGroupBytes}`,
    );
  }
  const writer = `@pixl/core ${VERSION}`;
  return { rows: maxGroupRows, bytes: maxGroupBytes, compression, metadata: { ...metadata, "pixl.writer": writer } };
}

/** Runs what touches the disk and says which file an error of the system is about. */
async function onDisk<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    const problem = diskProblem(cause);
    if (problem === undefined) throw cause;
    if (problem.reason === "refused") {
      throw new TableError("write-refused", `Cannot write '${path}': give this user, and Deno, write access`, {
        cause,
      });
    }
    if (problem.reason === "missing") {
      throw new TableError("write-refused", `Cannot write '${path}': its folder must be there`, { cause });
    }
    throw new TableError("write-failed", `Cannot write '${path}' (${problem.code}): check the disk, then try again`, {
      cause,
    });
  }
}
