import { type FileHandle, open } from "node:fs/promises";
import { type AsyncBuffer, type FileMetaData, parquetMetadata, parquetSchema } from "hyparquet";
import { checkThrift } from "./check_thrift.ts";
import { ExtractError } from "./errors.ts";

/** A file that is open for hyparquet. */
export type ParquetFile = AsyncBuffer & AsyncDisposable;

/** Magic bytes and the footer's length, at the end. */
const TAIL = 8;

/**
 * Says which file and column it is that cannot be read.
 *
 * @param path The file.
 * @param action Reads it.
 * @param column The column, if it is one.
 * @returns What it gives.
 * @throws {ExtractError} `unreadable-parquet`.
 */
export async function readable<T>(path: string, action: () => T | Promise<T>, column?: string): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    const what = column === undefined ? `'${path}'` : `column '${column}' of '${path}'`;
    throw new ExtractError(
      "unreadable-parquet",
      `Cannot read ${what}: it is cut off or damaged, copy the extract again`,
      { cause },
    );
  }
}

/**
 * Reads a file's metadata.
 *
 * @param file The file. @param path Its path, for the error.
 * @returns Schema, row groups and where their columns are.
 * @throws {ExtractError} `unreadable-parquet`.
 */
export async function readFooter(file: ParquetFile, path: string): Promise<FileMetaData> {
  return await readable(path, async () => {
    const end = file.byteLength - TAIL;
    const length = new DataView(await file.slice(end, file.byteLength)).getUint32(0, true);
    const footer = await file.slice(end - length, file.byteLength);
    checkThrift({ bytes: new Uint8Array(footer, 0, length), offset: 0 });
    const metadata = parquetMetadata(footer, { geoparquet: false });
    const rows = metadata.row_groups.reduce((sum, group) => sum + group.num_rows, 0n);
    if (rows !== metadata.num_rows) throw new RangeError("Row groups of another table");
    const named = parquetSchema(metadata).children.every(({ element }) => typeof element?.name === "string");
    if (!named) throw new RangeError("Column without a name");
    return metadata;
  });
}

/**
 * Opens a file for hyparquet.
 *
 * @param path Its path.
 * @returns The file; it is to be closed.
 * @throws {ExtractError} `unreadable-parquet` if it is no file, since opening a pipe waits for its writer, or `access-refused`.
 */
export async function openParquet(path: string): Promise<ParquetFile> {
  let handle: FileHandle;
  try {
    if (!(await Deno.stat(path)).isFile) throw notAFile(path);
    handle = await open(path);
  } catch (cause) {
    if (cause instanceof ExtractError) throw cause;
    throw new ExtractError("access-refused", `Cannot open '${path}': give this user, and Deno, read access`, { cause });
  }
  try {
    return parquetBuffer(handle, (await handle.stat()).size);
  } catch (cause) {
    await handle.close();
    throw cause;
  }
}

function notAFile(path: string): ExtractError {
  return new ExtractError("unreadable-parquet", `Cannot read '${path}': it must be a file, copy the extract again`);
}

function parquetBuffer(handle: FileHandle, byteLength: number): ParquetFile {
  return {
    byteLength,
    async slice(start, end = byteLength) {
      // A damaged footer may ask for any range: refuse before allocating it.
      if (!(start >= 0 && start <= end && end <= byteLength)) throw new RangeError("Range outside the file");
      const bytes = new Uint8Array(end - start);
      let done = 0;
      while (done < bytes.length) {
        const { bytesRead } = await handle.read(bytes, done, bytes.length - done, start + done);
        if (bytesRead === 0) throw new RangeError("File ends early");
        done += bytesRead;
      }
      return bytes.buffer;
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}
