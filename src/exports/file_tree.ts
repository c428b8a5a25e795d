import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { ExportError } from "./errors.ts";

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

/** What was found: a file, or what is neither file nor folder. */
export interface FoundEntry extends FoundFile {
  /** A symbolic link, a pipe or the like: it could lead out of the folder, or never end. */
  readonly isSpecial: boolean;
}

/**
 * Finds all files below a folder, in the order of their paths.
 *
 * @param dir The folder.
 * @param options How to stop.
 * @returns The files.
 * @throws {ExportError} `special-file` if there is a symbolic link, a pipe or the like.
 */
export async function findFiles(dir: string, options: { readonly signal?: AbortSignal } = {}): Promise<FoundFile[]> {
  const found = await findEntries(dir, options);
  const special = found.find(({ isSpecial }) => isSpecial);
  if (special !== undefined) {
    throw new ExportError(
      "special-file",
      `Cannot export '${join(dir, special.path)}': it must be a file or a folder, not a link`,
    );
  }
  return found.map(({ path, bytes }) => ({ path, bytes }));
}

/**
 * Finds everything below a folder but folders, in the order of the paths. Links are not followed.
 *
 * @param dir The folder.
 * @param options How to stop.
 * @returns What is there.
 */
export async function findEntries(
  dir: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<FoundEntry[]> {
  const found: FoundEntry[] = [];
  const search = async (folder: string) => {
    options.signal?.throwIfAborted();
    const entries = await Array.fromAsync(Deno.readDir(join(dir, folder)));
    for (const { name } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
      const path = folder === "" ? name : `${folder}/${name}`;
      const info = await Deno.lstat(join(dir, path));
      if (info.isDirectory) await search(path);
      else found.push({ path, bytes: info.size, isSpecial: !info.isFile });
    }
  };
  await search("");
  return found;
}

/** Bytes that are hashed at a time. */
const PIECE = 1 << 20;

/** How files are copied. */
export interface CopyFileOptions {
  /** Stops it, but for the file that is being copied by the system. */
  readonly signal?: AbortSignal;
  /** Is told of bytes that are there and hashed. */
  readonly onBytes?: (bytes: number) => void;
}

/**
 * Copies a file to a new one that only its owner can read, and waits for the disk. The system copies, several times as fast as this program could; the
 * copy is then read for its hash.
 *
 * @param from Its path. @param to The new path. @param options How to stop, and who is told of the bytes.
 * @returns Size and hash of what was written.
 */
export async function copyFile(
  from: string,
  to: string,
  options: CopyFileOptions = {},
): Promise<{ bytes: number; sha256: string }> {
  options.signal?.throwIfAborted();
  await Deno.copyFile(from, to);
  return await settleCopy(to, options);
}

/**
 * Copies files, as {@linkcode copyFile} does, the next one while one is hashed.
 *
 * @param files From where to where each is copied. The folders must be there.
 * @param options As for one file.
 * @returns Size and hash of each, in order, when it is on the disk.
 */
export async function* copyFiles(
  files: readonly { readonly from: string; readonly to: string }[],
  options: CopyFileOptions = {},
): AsyncGenerator<{ bytes: number; sha256: string }> {
  const copy = (index: number) => {
    const file = files[index];
    return file === undefined ? Promise.resolve() : Deno.copyFile(file.from, file.to);
  };
  let copying = copy(0);
  try {
    for (const [index, { to }] of files.entries()) {
      options.signal?.throwIfAborted();
      await copying;
      copying = copy(index + 1);
      // What went wrong is thrown when its turn comes.
      copying.catch(() => {});
      yield await settleCopy(to, options);
    }
  } finally {
    await copying.catch(() => {});
  }
}

async function settleCopy(path: string, options: CopyFileOptions): Promise<{ bytes: number; sha256: string }> {
  // Windows has no such permissions.
  if (Deno.build.os !== "windows") await Deno.chmod(path, 0o600);
  using file = await Deno.open(path, { read: true, write: true });
  const syncing = file.sync();
  const [hashed] = await Promise.all([hashFile(path, options), syncing]);
  return { bytes: (await file.stat()).size, sha256: hashed };
}

/**
 * Hashes a file.
 *
 * @param path Its path. @param options How to stop, and who is told of the bytes.
 * @returns SHA-256 in hexadecimal.
 */
export async function hashFile(path: string, options: CopyFileOptions = {}): Promise<string> {
  await using file = await open(path, "r");
  const hash = createHash("sha256");
  // The next piece is read while one is hashed.
  let [piece, next] = [new Uint8Array(PIECE), new Uint8Array(PIECE)];
  let { bytesRead } = await file.read(piece);
  while (bytesRead > 0) {
    options.signal?.throwIfAborted();
    const reading = file.read(next);
    // It is waited for below, unless hashing it is given up.
    reading.catch(() => {});
    hash.update(piece.subarray(0, bytesRead));
    options.onBytes?.(bytesRead);
    ({ bytesRead } = await reading);
    [piece, next] = [next, piece];
  }
  return hash.digest("hex");
}
