import { type FileHandle, open } from "node:fs/promises";
import type { AsyncBuffer } from "hyparquet";
import { ExtractError } from "./errors.ts";

/**
 * Says which file it is that hyparquet cannot read.
 *
 * @param path The file.
 * @param action Reads it.
 * @returns What it gives.
 * @throws {ExtractError} `unreadable-parquet`.
 */
export async function readable<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    throw new ExtractError(
      "unreadable-parquet",
      `Cannot read '${path}': it is cut off or damaged, copy the extract again`,
      {
        cause,
      },
    );
  }
}

/**
 * Opens a file for hyparquet.
 *
 * @param path Its path.
 * @returns The file; it is to be closed.
 * @throws {ExtractError} `access-refused`.
 */
export async function openParquet(path: string): Promise<AsyncBuffer & AsyncDisposable> {
  let handle: FileHandle;
  try {
    handle = await open(path);
  } catch (cause) {
    throw new ExtractError("access-refused", `Cannot open '${path}': give this user, and Deno, read access`, { cause });
  }
  try {
    return parquetBuffer(handle, (await handle.stat()).size);
  } catch (cause) {
    await handle.close();
    throw cause;
  }
}

function parquetBuffer(handle: FileHandle, byteLength: number): AsyncBuffer & AsyncDisposable {
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
