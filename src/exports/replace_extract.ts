import { basename, dirname, join } from "node:path";
import { diskProblem, syncFolder } from "./disk.ts";
import { copyFile } from "./copy_file.ts";
import { findEntries } from "./file_tree.ts";
import { ALL_EXTRACTS, pointLink, readLatest } from "./latest_link.ts";
import { makeLink } from "./make_link.ts";

/** Where an extract waits, whole, to take its old one's place. Its basename is the extract's, so that `latest` may point here meanwhile. */
const REPLACING = ".replacing";

/** What is in such a folder can be removed at any time. */
const LEFT = /^\..*\.staging$/;

/**
 * Replaces an extract's folder by another one. No system call that Deno has does this in one step, so `latest` points at the new folder where it waits
 * while the names are changed: a reader of `latest` finds the old extract or the new one, whole, at any time, and after a crash too.
 *
 * @param projectDir The project's folder.
 * @param timeSlug The extract's folder name.
 * @param staged The new folder, whole and on the disk, in the same file system. It is gone afterwards.
 */
export async function replaceExtract(projectDir: string, timeSlug: string, staged: string): Promise<void> {
  // It would not be known in which state to be left when it failed later.
  await readLatest(projectDir);
  const waiting = join(projectDir, ALL_EXTRACTS, REPLACING);
  await Deno.mkdir(waiting, { recursive: true, mode: 0o700 });
  await Deno.rename(staged, join(waiting, timeSlug));
  await syncFolder(waiting);
  await syncFolder(dirname(waiting));
  await takePlace(projectDir, timeSlug);
}

/**
 * Finishes what a crash has interrupted, and removes what it has left.
 *
 * @param projectDir The project's folder.
 */
export async function recoverExtracts(projectDir: string): Promise<void> {
  const all = join(projectDir, ALL_EXTRACTS);
  for (const name of await foldersIn(join(all, REPLACING))) await takePlace(projectDir, name);
  for (const name of await foldersIn(all)) if (LEFT.test(name)) await removeTree(join(all, name));
}

async function takePlace(projectDir: string, timeSlug: string): Promise<void> {
  const all = join(projectDir, ALL_EXTRACTS);
  const [waiting, target] = [join(all, REPLACING, timeSlug), join(all, timeSlug)];
  const [copy, old] = [join(all, `.${timeSlug}.copy.staging`), join(all, `.${timeSlug}.old.staging`)];
  const isLatest = basename(await readLatest(projectDir) ?? "") === timeSlug;
  if (isLatest) await pointLink(projectDir, `${ALL_EXTRACTS}/${REPLACING}/${timeSlug}`);
  await removeTree(copy);
  await removeTree(old);
  await Deno.mkdir(copy, { mode: 0o700 });
  await linkFiles(waiting, copy, (await findEntries(waiting)).map(({ path }) => path));
  await syncTree(copy);
  await Deno.rename(target, old).catch(ignoreMissing);
  await Deno.rename(copy, target);
  await syncFolder(all);
  if (isLatest) await pointLink(projectDir, `${ALL_EXTRACTS}/${timeSlug}`);
  // By one rename it waits no more: half of it must never be taken for the whole.
  await Deno.rename(waiting, copy);
  await syncFolder(dirname(waiting));
  await removeTree(copy);
  await removeTree(old);
}

/**
 * Reads an extract's folder while another process may replace it: again, if it is another folder afterwards.
 *
 * @param dir The extract's folder, or a link to it such as `latest`.
 * @param read Reads the folder that it is now; that one may be gone at any time.
 * @returns What it gives of one and the same folder.
 */
export async function readExtract<T>(dir: string, read: (folder: string) => Promise<T>): Promise<T> {
  while (true) {
    const { folder, identity } = await locate(dir);
    const isSame = async () => (await locate(dir)).identity === identity;
    try {
      const result = await read(folder);
      if (await isSame()) return result;
    } catch (error) {
      if (await isSame()) throw error;
    }
  }
}

/** Where an extract is: where it waits, if it does, since its old folder may be there, or none. */
async function locate(dir: string): Promise<{ folder: string; identity: string }> {
  for (const path of [join(dirname(dir), REPLACING, basename(dir)), dir]) {
    try {
      const folder = await Deno.realPath(path);
      const { ino, mtime } = await Deno.stat(folder);
      return { folder, identity: `${folder} ${ino} ${mtime?.getTime()}` };
    } catch (error) {
      // The caller may be allowed to read the folder alone.
      if (!(diskProblem(error)?.reason === "missing" || diskProblem(error)?.reason === "refused")) throw error;
    }
  }
  return { folder: dir, identity: "missing" };
}

/**
 * Gives files a second name in another folder; where the file system has no hard links they are copied. They are never changed in place. A link is made
 * anew, not followed; a pipe or the like is only given the name.
 *
 * @param from The folder. @param to The other one.
 * @param paths The files, below the folder. Nothing may be there in the other one.
 * @param options How to stop.
 */
export async function linkFiles(
  from: string,
  to: string,
  paths: readonly string[],
  options: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  for (const path of paths) {
    options.signal?.throwIfAborted();
    const target = join(to, path);
    await Deno.mkdir(dirname(target), { recursive: true, mode: 0o700 });
    await linkFile(join(from, path), target, options);
  }
}

/** What a file system, or its rules, says to a hard link that it does not make. */
const NO_HARD_LINK = ["EXDEV", "EPERM", "ENOTSUP", "EMLINK"];

async function linkFile(from: string, to: string, options: { readonly signal?: AbortSignal }): Promise<void> {
  const { isSymlink, isFile } = await Deno.lstat(from);
  if (isSymlink) return await makeLink(await Deno.readLink(from), to);
  try {
    await Deno.link(from, to);
  } catch (error) {
    if (!isFile || !NO_HARD_LINK.includes(diskProblem(error)?.code ?? "")) throw error;
    await copyFile(from, to, options);
  }
}

/**
 * Brings the names in a folder and all below it to the disk.
 *
 * @param dir The folder.
 */
export async function syncTree(dir: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(dir)) if (isDirectory) await syncTree(join(dir, name));
  await syncFolder(dir);
}

/** What is there besides is not ours. */
async function foldersIn(dir: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(dir))).filter(({ isDirectory }) => isDirectory).map(({ name }) => name);
  } catch (error) {
    ignoreMissing(error);
    return [];
  }
}

async function removeTree(path: string): Promise<void> {
  await Deno.remove(path, { recursive: true }).catch(ignoreMissing);
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
