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
