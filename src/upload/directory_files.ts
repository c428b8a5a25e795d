import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, lstat, open, readdir } from "node:fs/promises";
import type { ReadOptions, SourceFile } from "./source_file.ts";

/** Measured for sources too. */
const CHUNK_BYTES = 256 * 1024;

/** Writes the source from its offset, and forces it to the disk. */
export async function write(
  source: SourceFile,
  part: string,
  options: ReadOptions & { readonly signal: AbortSignal },
): Promise<void> {
  let at = source.offset;
  // Never through a link that somebody put there.
  const mode = at === 0 ? constants.O_CREAT | constants.O_EXCL : constants.O_NOFOLLOW;
  await using file = await open(part, constants.O_WRONLY | mode, 0o600);
  for await (const chunk of source.stream(options) as AsyncIterable<Uint8Array>) {
    options.signal.throwIfAborted();
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = await file.write(chunk, done, chunk.length - done, at);
      done += bytesWritten;
      at += bytesWritten;
    }
  }
  await file.sync();
}

/** SHA-256 in hex of what is there. */
export async function hashOf(path: string, signal: AbortSignal): Promise<string> {
  await using file: FileHandle = await open(path);
  const hash = createHash("sha256");
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (;;) {
    signal.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
    if (bytesRead === 0) return hash.digest("hex");
    hash.update(buffer.subarray(0, bytesRead));
  }
}

/** Size of a regular file, `undefined` if there is nothing. Anything else is in the way. */
export async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const file = await lstat(path);
    if (file.isFile()) return file.size;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
  throw Object.assign(new Error("Not a file"), { code: "EISDIR" });
}

/** What is in a folder; nothing if there is none. */
export async function entriesOf(path: string): ReturnType<typeof readEntries> {
  try {
    return await readEntries(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

function readEntries(path: string) {
  return readdir(path, { withFileTypes: true });
}

/** Forces names to the disk; a renamed file may otherwise be gone after a power cut. */
export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path);
  await folder.sync();
}
