import { diskProblem } from "./disk.ts";
import { TableError } from "./errors.ts";
import type { FileSink } from "./file_sink.ts";
import { beginParquet, type EncoderOptions, type ParquetEncoder } from "./parquet_encoder.ts";
import { RowGroup } from "./row_group.ts";
import type { TableSchema } from "./table_schema.ts";

/** A file that was written. */
export interface WrittenFile {
  /** How many rows. */
  readonly rows: number;
  /** Its size. */
  readonly bytes: number;
  /** SHA-256 of its content, in hexadecimal. */
  readonly sha256: string;
}

/** When a row group ends, and how it is written. */
export interface GroupLimits extends EncoderOptions {
  /** At so many rows. */
  readonly rows: number;
  /** At so many bytes. */
  readonly bytes: number;
}

/** Writes rows as parquet into a file that is open. Memory holds one row group. */
export class RowWriter {
  readonly #path: string;
  readonly #sink: FileSink;
  readonly #encoder: ParquetEncoder;
  readonly #group: RowGroup;
  readonly #limits: GroupLimits;
  #rows = 0;

  private constructor(path: string, sink: FileSink, encoder: ParquetEncoder, group: RowGroup, limits: GroupLimits) {
    this.#path = path;
    this.#sink = sink;
    this.#encoder = encoder;
    this.#group = group;
    this.#limits = limits;
  }

  /** @param path The file's name in errors. @param sink The file. @param schema The columns, checked. @param limits Of row groups. */
  static async begin(path: string, sink: FileSink, schema: TableSchema, limits: GroupLimits): Promise<RowWriter> {
    const encoder = await onDisk(path, () => beginParquet(schema, (chunk) => sink.write(chunk), limits));
    return new RowWriter(path, sink, encoder, new RowGroup(schema), limits);
  }

  /** How many rows were taken. */
  get rows(): number {
    return this.#rows;
  }

  /** @param rows Each is checked when it comes. @param signal Is looked at after each row group. */
  async write(rows: Iterable<unknown> | AsyncIterable<unknown>, signal?: AbortSignal): Promise<void> {
    // Waiting for each row where nothing is to be waited for takes as long as a tenth of all.
    if (Symbol.asyncIterator in rows) {
      for await (const row of rows) {
        if (this.#isFull(row)) await this.#flush(signal);
      }
    } else for (const row of rows) if (this.#isFull(row)) await this.#flush(signal);
  }

  /** Writes what is left and the end of the file, and waits for the disk. */
  async finish(signal?: AbortSignal): Promise<WrittenFile> {
    await this.#flush(signal);
    await onDisk(this.#path, () => this.#encoder.finish(this.#rows));
    const sha256 = await onDisk(this.#path, () => this.#sink.finish());
    return { rows: this.#rows, bytes: this.#sink.bytes, sha256 };
  }

  #isFull(row: unknown): boolean {
    this.#group.add(row, ++this.#rows);
    return this.#group.rows >= this.#limits.rows || this.#group.bytes >= this.#limits.bytes;
  }

  async #flush(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    const { rows, columns } = this.#group.take();
    if (rows > 0) await onDisk(this.#path, () => this.#encoder.writeGroup(rows, columns));
  }
}

/**
 * Runs what touches the disk and says which file an error of the system is about.
 *
 * @param path The file. @param action What to do.
 * @returns What it gives.
 * @throws {TableError} `write-refused` or `write-failed`.
 */
export async function onDisk<T>(path: string, action: () => Promise<T>): Promise<T> {
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
