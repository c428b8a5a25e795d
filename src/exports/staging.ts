import { open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { describeFile } from "./describe_file.ts";
import { syncFolder } from "./disk.ts";
import { ExportError, ExtractError } from "./errors.ts";
import { FileSink } from "./file_sink.ts";
import { findEntries, type FoundEntry } from "./file_tree.ts";
import { hashFile } from "./hash_file.ts";
import { ALL_EXTRACTS, readLatest } from "./latest_link.ts";
import { hashContent } from "./table_content.ts";
import { encodeManifest, type Manifest, MANIFEST_NAME, type ManifestFile, readManifest } from "./manifest.ts";
import { checkExportDir, exportRefused, lockProject } from "./project_lock.ts";
import { linkFiles, recoverExtracts, replaceExtract, syncTree } from "./replace_extract.ts";
import { timeSlug } from "./slug.ts";

/** What an export consists of, each made and replaced as a whole: folders in the extract's folder, and single files of one. */
export type Part = "omop" | "radiology" | `ehr/${string}.parquet`;

/**
 * The hidden folder in which an export is made, beside the one that it becomes. While it is open no other export of the project runs: it holds a lock
 * of the operating system, which a crash frees.
 */
export class Staging implements AsyncDisposable {
  /** The hidden folder. */
  readonly dir: string;
  readonly #projectDir: string;
  readonly #time: string;
  readonly #timeSlug: string;
  readonly #target: string;
  readonly #lock: Deno.FsFile;
  /** Those that are whole. */
  readonly #parts = new Map<Part, readonly ManifestFile[]>();
  /** Of these, those that are there as another version wrote them, and stay so. What was made here is removed. */
  readonly #older = new Set<Part>();
  #closed = false;

  private constructor(projectDir: string, extractTime: string, lock: Deno.FsFile) {
    this.#projectDir = projectDir;
    this.#time = extractTime;
    this.#timeSlug = timeSlug(extractTime);
    this.dir = join(projectDir, ALL_EXTRACTS, `.${this.#timeSlug}.staging`);
    this.#target = join(projectDir, ALL_EXTRACTS, this.#timeSlug);
    this.#lock = lock;
  }

  /**
   * Takes the project's lock, finishes what a crash has interrupted and removes what it has left.
   *
   * @param exportDir The folder of all exports. @param projectDir The project's folder in it. @param extractTime The extract's
   * time, normalised.
   * @returns An empty staging folder.
   * @throws {ExportError} `export-dir-refused` or `export-busy`.
   */
  static async open(exportDir: string, projectDir: string, extractTime: string): Promise<Staging> {
    await checkExportDir(exportDir);
    const lock = await lockProject(projectDir);
    const staging = new Staging(projectDir, extractTime, lock);
    try {
      // Better known now than after the copying.
      await readLatest(projectDir);
      await recoverExtracts(projectDir);
      await Deno.mkdir(staging.dir, { mode: 0o700 });
      return staging;
    } catch (cause) {
      lock.close();
      throw cause instanceof ExportError ? cause : exportRefused(projectDir, cause);
    }
  }

  /** Makes room for a part: an empty folder, or the folder of a file. */
  async begin(part: Part): Promise<void> {
    this.#parts.delete(part);
    this.#older.delete(part);
    await Deno.remove(join(this.dir, part), { recursive: true }).catch(ignoreMissing);
    await Deno.mkdir(join(this.dir, folderOf(part)), { recursive: true, mode: 0o700 });
  }

  /** Says that a part is whole. */
  complete(part: Part, files: readonly ManifestFile[]): void {
    this.#parts.set(part, files);
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
      time: this.#time,
      files: [...this.#made().values(), await this.#filesOf(kept, options)].flat(),
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
    const entries = await findEntries(this.#target, options);
    const different: Part[] = [];
    let absent = false;
    for (const [part, files] of this.#made()) {
      const present = entries.filter(({ path }) => isOf(part, path));
      if (present.length === 0) absent = true;
      else if (await this.#isThere(present, files, options)) continue;
      else if (options.replace !== true && await this.#isOlder(part, present)) this.#older.add(part);
      else different.push(part);
    }
    if (different.length > 0 && options.replace !== true) {
      throw new ExportError(
        "exists-different",
        `Cannot export ${
          different.join(" and ")
        } to '${this.#target}': it is there with other content, use --replace to replace it`,
      );
    }
    return { kept: entries.filter(({ path }) => this.#isKept(path)), changed: absent || different.length > 0 };
  }

  async #isThere(
    present: readonly FoundEntry[],
    files: readonly ManifestFile[],
    options: { readonly signal?: AbortSignal },
  ): Promise<boolean> {
    if (present.length !== files.length) return false;
    const wanted = new Map(files.map((file) => [file.path, file]));
    for (const { path, bytes, isSpecial } of present) {
      const file = wanted.get(path);
      if (isSpecial || file?.bytes !== bytes) return false;
      if (file.sha256 !== await hashFile(join(this.#target, path), options)) return false;
    }
    return true;
  }

  /** Whether it is a table that another version of this package wrote, of the same rows: it is not worth to be sent again. */
  async #isOlder(part: Part, [present, ...others]: readonly FoundEntry[]): Promise<boolean> {
    if (part === "omop" || present === undefined || present.isSpecial || others.length > 0) return false;
    const made = await contentOf(join(this.dir, present.path));
    return made !== undefined && made === await contentOf(join(this.#target, present.path));
  }

  /** What the manifest says of files that are taken over, missing ones too; of those that it does not know, what they are. */
  async #filesOf(
    kept: readonly FoundEntry[],
    options: { readonly replace?: boolean; readonly signal?: AbortSignal },
  ): Promise<ManifestFile[]> {
    const manifest = kept.length === 0 ? undefined : await this.#presentManifest(options.replace === true);
    const known = manifest?.files.filter(({ path }) => this.#isKept(path)) ?? [];
    const files = [...known];
    for (const { path, bytes, isSpecial } of kept) {
      if (isSpecial || known.some((file) => file.path === path)) continue;
      const file = join(this.#target, path);
      files.push({ path, bytes, sha256: await hashFile(file, options), ...await describeForeign(file) });
    }
    return files;
  }

  /** The manifest that is there, if any; one that is damaged counts for none where everything may be replaced. */
  async #presentManifest(replace: boolean): Promise<Manifest | undefined> {
    try {
      return await readManifest(this.#target);
    } catch (error) {
      const isNone = error instanceof ExportError &&
        (error.code === "not-exported" || (replace && error.code === "manifest-invalid"));
      if (isNone) return undefined;
      throw error;
    }
  }

  /** Removes what is not of a whole part: half a part, and what was linked by a call that failed. */
  async #tidy(): Promise<void> {
    const folders = new Set([...this.#made().keys()].map(folderOf));
    for await (const { name } of Deno.readDir(this.dir)) {
      if (!folders.has(name)) await Deno.remove(join(this.dir, name), { recursive: true });
    }
    const made = new Set([...this.#made().values()].flat().map(({ path }) => path));
    for (const { path } of await findEntries(this.dir)) if (!made.has(path)) await Deno.remove(join(this.dir, path));
  }

  /** Whether a file belongs to no part that was made anew. */
  #isKept(path: string): boolean {
    return path !== MANIFEST_NAME && ![...this.#made().keys()].some((part) => isOf(part, path));
  }

  /** The parts that this run puts there. */
  #made(): ReadonlyMap<Part, readonly ManifestFile[]> {
    return new Map([...this.#parts].filter(([part]) => !this.#older.has(part)));
  }
}

/** Whether a path is that of a part, or in its folder. */
function isOf(part: Part, path: string): boolean {
  return path === part || path.startsWith(`${part}/`);
}

/** The folder that a part is, or is in. */
function folderOf(part: Part): string {
  const [folder = part] = part.split("/");
  return folder;
}

async function contentOf(path: string): Promise<string | undefined> {
  try {
    return await hashContent(path);
  } catch (error) {
    if (error instanceof ExtractError) return undefined;
    throw error;
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
    ignoreMissing(error);
    return false;
  }
}
