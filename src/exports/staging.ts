import { dirname, join } from "node:path";
import { diskProblem, syncFolder } from "./disk.ts";
import { ExportError } from "./errors.ts";
import { checkLinkable } from "./make_link.ts";
import { type ExportedFile, findFiles, hashFile } from "./file_tree.ts";
import { ALL_EXTRACTS } from "./latest_link.ts";

/** What an export consists of: folders in the extract's folder. */
export type Part = "omop" | "radiology";

/**
 * The hidden folder in which an export is made, beside the one that it becomes. While it is open no other export of the project runs: it holds a lock
 * of the operating system, which a crash frees.
 */
export class Staging implements AsyncDisposable {
  /** The hidden folder. */
  readonly dir: string;
  readonly #target: string;
  readonly #lock: Deno.FsFile;
  readonly #parts = new Map<Part, readonly ExportedFile[]>();
  #closed = false;

  private constructor(projectDir: string, timeSlug: string, lock: Deno.FsFile) {
    this.dir = join(projectDir, ALL_EXTRACTS, `.${timeSlug}.staging`);
    this.#target = join(projectDir, ALL_EXTRACTS, timeSlug);
    this.#lock = lock;
  }

  /**
   * Takes the project's lock and removes what a crash has left.
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
      for await (const { name } of Deno.readDir(join(projectDir, ALL_EXTRACTS))) {
        if (/^\..*\.staging$/.test(name)) await Deno.remove(join(projectDir, ALL_EXTRACTS, name), { recursive: true });
      }
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
    await Deno.remove(join(this.dir, part), { recursive: true }).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    await Deno.mkdir(join(this.dir, part), { mode: 0o700 });
  }

  /** Says that a part is whole. */
  complete(part: Part, files: readonly ExportedFile[]): void {
    this.#parts.set(part, files);
  }

  /**
   * Puts the parts that are whole into their place.
   *
   * @param options Whether to replace, and how to stop.
   * @returns Whether anything changed.
   * @throws {ExportError} `exists-different`, or `not-exported` if there is nothing, here or there.
   */
  async publish(options: { readonly replace?: boolean; readonly signal?: AbortSignal }): Promise<boolean> {
    if (!await isFolder(this.#target)) return await this.#publishAll();
    const absent: Part[] = [];
    const different: Part[] = [];
    for (const [part, files] of this.#parts) {
      if (!await isFolder(join(this.#target, part))) absent.push(part);
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
    options.signal?.throwIfAborted();
    for (const part of different) await Deno.rename(join(this.#target, part), join(this.dir, `replaced-${part}`));
    for (const part of [...different, ...absent]) await Deno.rename(join(this.dir, part), join(this.#target, part));
    await syncFolder(this.#target);
    this.#parts.clear();
    return different.length + absent.length > 0;
  }

  /** Removes the staging folder and frees the lock. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await Deno.remove(this.dir, { recursive: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    } finally {
      this.#lock.close();
    }
  }

  async #publishAll(): Promise<boolean> {
    if (this.#parts.size === 0) {
      throw new ExportError("not-exported", `Cannot finish '${this.#target}': copy or write something first`);
    }
    for await (const { name } of Deno.readDir(this.dir)) {
      if (![...this.#parts.keys()].some((part) => part === name)) {
        await Deno.remove(join(this.dir, name), { recursive: true });
      }
    }
    await syncFolder(this.dir);
    await Deno.rename(this.dir, this.#target);
    await syncFolder(dirname(this.#target));
    this.#parts.clear();
    return true;
  }

  async #isThere(
    part: Part,
    files: readonly ExportedFile[],
    options: { readonly signal?: AbortSignal },
  ): Promise<boolean> {
    const present = await findFiles(join(this.#target, part), options);
    if (present.length !== files.length) return false;
    const wanted = new Map(files.map((file) => [file.path, file]));
    for (const { path, bytes } of present) {
      const file = wanted.get(`${part}/${path}`);
      if (file?.bytes !== bytes) return false;
      if (file.sha256 !== await hashFile(join(this.#target, part, path), options)) return false;
    }
    return true;
  }
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
