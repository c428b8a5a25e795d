import { randomUUID } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { syncFolder } from "./disk.ts";
import { FileSink } from "./file_sink.ts";
import { type Compression, MAX_GROUP_ROWS } from "./parquet_encoder.ts";
import { type GroupLimits, onDisk, RowWriter, type WrittenFile } from "./row_writer.ts";
import { VERSION } from "../version.ts";
import { checkSchema, type Row, type TableSchema } from "./table_schema.ts";

/** How a table is written. */
export interface TableWriterOptions {
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

/**
 * Writes a parquet file. Under its name it is there whole or not at all: it is written beside it, brought to the disk, and renamed by {@linkcode finish}.
 * After a call that failed, and without `finish`, nothing is left of it; a killed process leaves the hidden `.NAME.….part`. Memory holds one row group.
 *
 * @example
 * ```ts
 * import { TableWriter } from "@pixl/core/exports";
 * import { assertEquals } from "@std/assert";
 *
 * const path = `${await Deno.makeTempDir()}/person.parquet`;
 * await using writer = await TableWriter.open(path, [{ name: "person_id", type: "int64" }]);
 * await writer.write([{ person_id: 1 }, { person_id: 2n }]);
 * const { rows } = await writer.finish();
 * assertEquals(rows, 2);
 * ```
 */
export class TableWriter<S extends TableSchema> implements AsyncDisposable {
  /** The file. */
  readonly path: string;
  readonly #temporary: string;
  readonly #rows: RowWriter;
  readonly #signal: AbortSignal | undefined;
  /** Until it is finished or has failed. */
  #file: FileHandle | undefined;
  #busy = false;

  private constructor(path: string, temporary: string, file: FileHandle, rows: RowWriter, signal?: AbortSignal) {
    this.path = path;
    this.#temporary = temporary;
    this.#file = file;
    this.#rows = rows;
    this.#signal = signal;
  }

  /**
   * Begins a file.
   *
   * @param path Where; a file that is there is replaced in the end. The new one can be read by its owner only.
   * @param schema The columns.
   * @param options Sizes, and how to stop.
   * @returns The writer.
   * @throws {TableError} `bad-schema`; `write-failed` if the disk is full or the like; `write-refused` if it must not be written there.
   */
  static async open<const S extends TableSchema>(
    path: string,
    schema: S,
    options: TableWriterOptions = {},
  ): Promise<TableWriter<S>> {
    checkSchema(schema);
    const limits = checkLimits(options);
    options.signal?.throwIfAborted();
    const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.part`);
    const file = await onDisk(path, () => open(temporary, "wx", 0o600));
    try {
      const rows = await RowWriter.begin(path, new FileSink(file), schema, limits);
      return new TableWriter<S>(path, temporary, file, rows, options.signal);
    } catch (error) {
      await discard(file, temporary);
      throw error;
    }
  }

  /** How many rows were written so far. */
  get rows(): number {
    return this.#rows.rows;
  }

  /**
   * Adds rows. May be called again, when the call before has ended.
   *
   * @param rows The rows. Each is checked when it comes: the error names its number in the file, from 1, and the column.
   * @throws {TableError} `bad-value` for a value that the column cannot hold, an unknown name or a missing value; `write-failed` or `write-refused`.
   * @throws {TypeError} If a call has not ended, or the file is finished or has failed.
   * @throws What `rows` throws.
   */
  async write(rows: Iterable<Row<S>> | AsyncIterable<Row<S>>): Promise<void> {
    await this.#alone(() => this.#rows.write(rows, this.#signal));
  }

  /**
   * Brings the file to the disk and gives it its name. If the disk fails in bringing the name to it, after all else, the new file is there.
   *
   * @returns What was written.
   * @throws {TableError} `write-failed` or `write-refused`.
   * @throws {TypeError} As {@linkcode write}.
   */
  async finish(): Promise<WrittenFile> {
    return await this.#alone(async (file) => {
      const written = await this.#rows.finish(this.#signal);
      await onDisk(this.path, () => Deno.rename(this.#temporary, this.path));
      await onDisk(this.path, () => syncFolder(dirname(this.path)));
      this.#file = undefined;
      await file.close();
      return written;
    });
  }

  /** Removes what was not finished. */
  async [Symbol.asyncDispose](): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    if (file !== undefined) await discard(file, this.#temporary);
  }

  async #alone<T>(action: (file: FileHandle) => Promise<T>): Promise<T> {
    if (this.#busy) throw new TypeError(`Cannot write '${this.path}': wait until the call before has ended`);
    if (this.#file === undefined) throw new TypeError(`Cannot write '${this.path}': it is closed, open another writer`);
    this.#busy = true;
    try {
      return await action(this.#file);
    } catch (error) {
      await this[Symbol.asyncDispose]();
      throw error;
    } finally {
      this.#busy = false;
    }
  }
}

async function discard(file: FileHandle, temporary: string): Promise<void> {
  await Deno.remove(temporary).catch(() => {});
  await file.close();
}

function checkLimits(
  { maxGroupRows = MAX_GROUP_ROWS, maxGroupBytes = 64 * 1024 * 1024, compression = "snappy", metadata = {} }:
    TableWriterOptions,
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
