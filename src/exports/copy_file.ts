import { diskProblem } from "./disk.ts";
import { ExportError, ExtractError } from "./errors.ts";
import { hashFile, type HashOptions } from "./hash_file.ts";

/** How a file is copied. */
export interface CopyFileOptions extends HashOptions {
  /** Hashes the copy. @default {hashFile} */
  readonly hash?: (path: string, bytes: number, options: HashOptions) => Promise<string>;
}

/**
 * Copies a file to a new one that only its owner can read, and waits for the disk. The system copies, several times as fast as this program could, and
 * cannot be stopped in it; the copy is then read for its hash.
 *
 * @param from Its path. @param to The new path. @param options How to stop, and who is told of bytes that are there and hashed.
 * @returns Size and hash of what was written.
 * @throws {ExtractError} `access-refused` if it cannot be read.
 * @throws {ExportError} `source-changed` if it is another file afterwards, by its size or time.
 */
export async function copyFile(
  from: string,
  to: string,
  options: CopyFileOptions = {},
): Promise<{ bytes: number; sha256: string }> {
  const { hash = (path, _, options) => hashFile(path, options) } = options;
  options.signal?.throwIfAborted();
  const before = await look(from);
  await Deno.copyFile(from, to);
  const after = await look(from);
  // Windows has no such permissions.
  if (Deno.build.os !== "windows") await Deno.chmod(to, 0o600);
  using file = await Deno.open(to, { read: true, write: true });
  const { size } = await file.stat();
  const isSame = after.ino === before.ino && after.mtime?.getTime() === before.mtime?.getTime();
  if (!isSame || after.size !== before.size || size !== before.size) throw changed(from);
  const syncing = file.sync();
  // Both have ended before the file is closed.
  const [hashed, synced] = await Promise.allSettled([hash(to, size, options), syncing]);
  if (hashed.status === "rejected") throw hashed.reason;
  if (synced.status === "rejected") throw synced.reason;
  return { bytes: size, sha256: hashed.value };
}

/** What can be known of a file without reading it; opening it tells who may not read it. */
async function look(path: string): Promise<Deno.FileInfo> {
  try {
    using file = await Deno.open(path);
    return await file.stat();
  } catch (cause) {
    if (diskProblem(cause)?.reason === "missing") throw changed(path, cause);
    throw new ExtractError("access-refused", `Cannot read '${path}': give this user, and Deno, read access`, { cause });
  }
}

function changed(path: string, cause?: unknown): ExportError {
  return new ExportError("source-changed", `Cannot copy '${path}': it was changed meanwhile, wait until it is whole`, {
    cause,
  });
}
