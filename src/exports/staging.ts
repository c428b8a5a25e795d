import { open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { describeFile } from "./describe_file.ts";
import { diskProblem, syncFolder } from "./disk.ts";
import { ExportError, ExtractError } from "./errors.ts";
import { FileSink } from "./file_sink.ts";
import { findEntries, type FoundEntry } from "./file_tree.ts";
import { hashFile } from "./hash_file.ts";
import { ALL_EXTRACTS } from "./latest_link.ts";
import { checkLinkable } from "./make_link.ts";
import { encodeManifest, MANIFEST_NAME, type ManifestFile, readManifest } from "./manifest.ts";
import { linkFiles, recoverExtracts, replaceExtract, syncTree } from "./replace_extract.ts";

/** What an export consists of: folders in the extract's folder. */
export type Part = "omop" | "radiology" | "ehr";

const PARTS: readonly Part[] = ["omop", "radiology", "ehr"];

/**
 * The hidden folder in which an export is made, beside the one that it becomes. While it is open no other export of the project runs: it holds a lock
 * of the operating system, which a crash frees.
 */
export class Staging implements AsyncDisposable {
  /** The hidden folder. */
  readonly dir: string;
  readonly #projectDir: string;
  readonly #timeSlug: string;
  readonly #target: string;
  readonly #lock: Deno.FsFile;
  readonly #parts = new Map<Part, readonly ManifestFile[]>();
  #closed = false;

  private constructor(projectDir: string, timeSlug: string, lock: Deno.FsFile) {
    this.#projectDir = projectDir;
    this.#timeSlug = timeSlug;
    this.dir = join(projectDir, ALL_EXTRACTS, `.${timeSlug}.staging`);
    this.#target = join(projectDir, ALL_EXTRACTS, timeSlug);
    this.#lock = lock;
  }

  /**
   * Takes the project's lock, finishes what a crash has interrupted and removes what it has left.
   *
   * @param exportDir The folder of all exports. @param projectDir The project's folder in it. @param timeSlug The extract's folder name.
   * @returns An empty staging folder.
   * @throws {ExportError} `export-dir-refused` or `export-busy`.
   */
  static async open(exportDir: string, projectDir: string, timeSlug: string): Promise<Staging> {
    await checkExportDir(exportDir);
    const lock = await lockProject(projectDir);
    const staging = new Staging(projectDir, timeSlug, lock);
    try {
      await recoverExtracts(projectDir);
      await Deno.mkdir(staging.dir, { mode: 0o700 });
      return staging;
    } catch (cause) {
      lock.close();
      throw refused(projectDir, cause);
    }
  }

  /** Makes an empty folder for a part. */
  async begin(part: Part): Promise<void> {
    this.#parts.delete(part);
    await Deno.remove(join(this.dir, part), { recursive: true }).catch(ignoreMissing);
    await Deno.mkdir(join(this.dir, part), { mode: 0o700 });
  }

  /** Makes the folder of a part whose files are written one by one or side by side, unless it is there. */
  async add(part: Part): Promise<void> {
    await Deno.mkdir(join(this.dir, part), { mode: 0o700 }).catch((error) => {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    });
  }

  /** Says that a part is whole, or that files were added to it. */
  complete(part: Part, files: readonly ManifestFile[]): void {
    const names = new Set(files.map(({ path }) => path));
    const others = (this.#parts.get(part) ?? []).filter(({ path }) => !names.has(path));
    this.#parts.set(part, [...others, ...files]);
  }

  /**
   * Puts the export into its place: the parts that are whole here, those that were exported before and not made anew, and the manifest.
   *
   * @param options Whether to replace, and how to stop.
   * @returns Whether anything changed. If the disk failed amid a replacement, it may be called again and finishes that.
   * @throws {ExportError} `exists-different`, or `not-exported` if there is nothing, here or there.
   */
  async publish(options: { readonly replace?: boolean; readonly signal?: AbortSignal }): Promise<boolean> {
    if (!await isFolder(this.dir)) {
      // It was moved when a call before failed; what that call began is finished.
      await recoverExtracts(this.#projectDir);
      return true;
    }
    const there = await isFolder(this.#target);
    if (this.#parts.size === 0) {
      throw new ExportError("not-exported", `Cannot finish '${this.#target}': copy or write something first`);
    }
    const { kept, changed } = there ? await this.#compare(options) : { kept: [], changed: true };
    await this.#tidy();
    await linkFiles(this.#target, this.dir, kept.map(({ path }) => path), options);
    const manifest = encodeManifest({
      version: 1,
      project: basename(this.#projectDir),
      extract: this.#timeSlug,
      files: [...this.#parts.values(), await this.#filesOf(kept, options)].flat(),
    });
    if (!changed && manifest === await textOf(join(this.#target, MANIFEST_NAME))) return false;
    await writeSynced(join(this.dir, MANIFEST_NAME), manifest);
    await syncTree(this.dir);
    options.signal?.throwIfAborted();
    if (there) await replaceExtract(this.#projectDir, this.#timeSlug, this.dir);
    else {
      await Deno.rename(this.dir, this.#target);
      await syncFolder(dirname(this.#target));
    }
    return true;
  }

  /** Removes the staging folder and frees the lock. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await Deno.remove(this.dir, { recursive: true }).catch(ignoreMissing);
    } finally {
      this.#lock.close();
    }
  }

  /** Which files are only in the export that is there, and whether a part is only here or different. */
  async #compare(
    options: { readonly replace?: boolean; readonly signal?: AbortSignal },
  ): Promise<{ kept: FoundEntry[]; changed: boolean }> {
    const different: Part[] = [];
    let absent = false;
    for (const [part, files] of this.#parts) {
      if (!await isFolder(join(this.#target, part))) absent = true;
      else if (!await this.#isThere(part, files, options)) different.push(part);
    }
    if (different.length > 0 && options.replace !== true) {
      throw new ExportError(
        "exists-different",
        `Cannot export ${
          different.join(" and ")
        } to '${this.#target}': it is there with other content, use --replace to replace it`,
      );
    }
    const kept = (await findEntries(this.#target, options)).filter(({ path }) => this.#isKept(path));
    return { kept, changed: absent || different.length > 0 };
  }

  async #isThere(
    part: Part,
    files: readonly ManifestFile[],
    options: { readonly signal?: AbortSignal },
  ): Promise<boolean> {
    const present = await findEntries(join(this.#target, part), options);
    if (present.length !== files.length) return false;
    const wanted = new Map(files.map((file) => [file.path, file]));
    for (const { path, bytes, isSpecial } of present) {
      const file = wanted.get(`${part}/${path}`);
      if (isSpecial || file?.bytes !== bytes) return false;
      if (file.sha256 !== await hashFile(join(this.#target, part, path), options)) return false;
    }
    return true;
  }

  /** What the manifest says of files that are taken over, missing ones too; of those that it does not know, what they are. */
  async #filesOf(kept: readonly FoundEntry[], options: { readonly signal?: AbortSignal }): Promise<ManifestFile[]> {
    const known = await textOf(join(this.#target, MANIFEST_NAME)) === undefined || kept.length === 0
      ? []
      : (await readManifest(this.#target)).files.filter(({ path }) => this.#isKept(path));
    const files = [...known];
    for (const { path, bytes, isSpecial } of kept) {
      if (isSpecial || known.some((file) => file.path === path)) continue;
      const file = join(this.#target, path);
      files.push({ path, bytes, sha256: await hashFile(file, options), ...await describeForeign(file) });
    }
    return files;
  }

  /** Removes what is not of a whole part: half a part, and what was linked by a call that failed. */
  async #tidy(): Promise<void> {
    for await (const { name } of Deno.readDir(this.dir)) {
      const isPart = PARTS.some((part) => part === name && this.#parts.has(part));
      if (!isPart) await Deno.remove(join(this.dir, name), { recursive: true });
    }
    const made = new Set([...this.#parts.values()].flat().map(({ path }) => path));
    for (const { path } of await findEntries(this.dir)) if (!made.has(path)) await Deno.remove(join(this.dir, path));
  }

  /** Whether a file belongs to no part that was made anew. */
  #isKept(path: string): boolean {
    return path !== MANIFEST_NAME && ![...this.#parts.keys()].some((part) => path.startsWith(`${part}/`));
  }
}

/** What another program put there may be unfinished. */
async function describeForeign(path: string): Promise<Pick<ManifestFile, "rows" | "schema">> {
  try {
    return await describeFile(path);
  } catch (error) {
    if (!(error instanceof ExtractError)) throw error;
    return { rows: null, schema: null };
  }
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    ignoreMissing(error);
    return undefined;
  }
}

async function writeSynced(path: string, text: string): Promise<void> {
  await using file = await open(path, "w", 0o600);
  const sink = new FileSink(file);
  await sink.write(new TextEncoder().encode(text));
  await sink.finish();
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await Deno.lstat(path)).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function checkExportDir(exportDir: string): Promise<void> {
  const info = await Deno.stat(exportDir).catch((cause) => {
    throw refused(exportDir, cause);
  });
  if (!info.isDirectory) throw refused(exportDir);
  // Better known now than after the copying.
  await checkLinkable(join(exportDir, "latest"));
}

async function lockProject(projectDir: string): Promise<Deno.FsFile> {
  let lock: Deno.FsFile;
  try {
    await Deno.mkdir(join(projectDir, ALL_EXTRACTS), { recursive: true, mode: 0o700 });
    lock = await Deno.open(join(projectDir, ".lock"), { read: true, write: true, create: true, mode: 0o600 });
  } catch (cause) {
    throw refused(projectDir, cause);
  }
  if (await lock.tryLock(true)) return lock;
  lock.close();
  throw new ExportError(
    "export-busy",
    `Cannot export to '${projectDir}': another export of the project is running, wait for it`,
  );
}

function refused(path: string, cause?: unknown): ExportError {
  const code = diskProblem(cause)?.code;
  const reason = code === undefined ? "" : ` (${code})`;
  return new ExportError(
    "export-dir-refused",
    `Cannot export to '${path}'${reason}: it must be a folder that this user can write to`,
    {
      cause,
    },
  );
}
