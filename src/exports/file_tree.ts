import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { ExportError } from "./errors.ts";
import { FileSink } from "./file_sink.ts";

/** A file of an export. */
export interface ExportedFile {
  /** Where it is in the export, with `/`: `omop/public/PERSON.parquet`. */
  readonly path: string;
  /** Its size. */
  readonly bytes: number;
  /** SHA-256 of its content, in hexadecimal. */
  readonly sha256: string;
}

/** A file that was found. */
export interface FoundFile {
  /** Where it is below the folder that was searched, with `/`. */
  readonly path: string;
  /** Its size. */
  readonly bytes: number;
}

/**
 * Finds all files below a folder, in the order of their paths.
 *
 * @param dir The folder.
 * @param options How to stop.
 * @returns The files.
 * @throws {ExportError} `special-file` if there is a symbolic link, a pipe or the like: it could lead out of the folder, or never end.
 */
export async function findFiles(dir: string, options: { readonly signal?: AbortSignal } = {}): Promise<FoundFile[]> {
  const found: FoundFile[] = [];
  const search = async (folder: string) => {
    options.signal?.throwIfAborted();
    const entries = await Array.fromAsync(Deno.readDir(join(dir, folder)));
    for (const { name } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
      const path = folder === "" ? name : `${folder}/${name}`;
      const info = await Deno.lstat(join(dir, path));
      if (info.isDirectory) await search(path);
      else if (info.isFile) found.push({ path, bytes: info.size });
      else {throw new ExportError(
          "special-file",
          `Cannot export '${join(dir, path)}': it must be a file or a folder, not a link`,
        );}
    }
  };
  await search("");
  return found;
}

/** Pieces of a copy. */
const COPY_BYTES = 1 << 20;

/**
 * Copies a file, to a new one that only its owner can read, and waits for the disk.
 *
 * @param from Its path. @param to The new path. @param options How to stop, and who is told of the bytes.
 * @returns Size and hash of what was written.
 */
export async function copyFile(
  from: string,
  to: string,
  options: { readonly signal?: AbortSignal; readonly onBytes?: (bytes: number) => void } = {},
): Promise<{ bytes: number; sha256: string }> {
  await using source = await open(from, "r");
  await using target = await open(to, "wx", 0o600);
  const sink = new FileSink(target);
  // The next piece is read while one is hashed and written.
  let [piece, next] = [new Uint8Array(COPY_BYTES), new Uint8Array(COPY_BYTES)];
  let { bytesRead } = await source.read(piece);
  while (bytesRead > 0) {
    options.signal?.throwIfAborted();
    const [following] = await Promise.all([source.read(next), sink.write(piece.subarray(0, bytesRead))]);
    options.onBytes?.(bytesRead);
    [piece, next] = [next, piece];
    bytesRead = following.bytesRead;
  }
  return { sha256: await sink.finish(), bytes: sink.bytes };
}

/**
 * Hashes a file.
 *
 * @param path Its path. @param options How to stop.
 * @returns SHA-256 in hexadecimal.
 */
export async function hashFile(path: string, options: { readonly signal?: AbortSignal } = {}): Promise<string> {
  using file = await Deno.open(path);
  const hash = createHash("sha256");
  const buffer = new Uint8Array(1 << 20);
  for (let count = await file.read(buffer); count !== null; count = await file.read(buffer)) {
    options.signal?.throwIfAborted();
    hash.update(buffer.subarray(0, count));
  }
  return hash.digest("hex");
}
