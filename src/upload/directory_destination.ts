import { link, mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { CallOptions, Destination, PutOptions, Receipt, RemoteFile, Verification } from "./destination.ts";
import { asFolderError } from "./directory_errors.ts";
import { entriesOf, hashOf, sizeOf, syncFolder, write } from "./directory_files.ts";
import { UploadError } from "./errors.ts";
import type { Pace } from "./pace.ts";
import { isPartNameOf, isPlainName, type RemotePath, remotePath } from "./remote_path.ts";
import { type ReadSoFar, SourceFile } from "./source_file.ts";

/**
 * A folder, such as a mounted share of the data safe haven. Files are written under a temporary name, forced to the disk, read back and renamed. A system
 * call on a share whose server is gone cannot be ended from here: mount it with a time-out (NFS: `soft`).
 */
export class DirectoryDestination implements Destination {
  /** The folder. */
  readonly name: string;
  readonly #pace: Pace | undefined;
  /** Which folder of which file system it was. */
  #identity: string | undefined;
  readonly #closing = new AbortController();

  private constructor(dir: string, pace: Pace | undefined) {
    this.name = dir;
    this.#pace = pace;
  }

  /**
   * Looks whether the folder is there. It is never made: a share that is not mounted must not become a folder on the local disk. Where a share is not
   * mounted, the folder that it is mounted on may be there all the same, and empty: so one that was used before must not be empty, and one that is
   * another folder than when it was opened is used no more.
   *
   * @param dir Absolute path.
   * @param options `pace`: limits the bytes a second; `wasUsed`: files were sent there before.
   * @throws {UploadError} `unreachable` if it is not there, or not the share by these rules.
   *
   * @example
   * ```ts
   * import { DirectoryDestination } from "@pixl/core/upload";
   * import { assertEquals } from "@std/assert";
   *
   * const dir = await Deno.makeTempDir();
   * await Deno.writeTextFile(`${dir}/source.zip`, "content");
   * await Deno.mkdir(`${dir}/share`);
   * await using share = await DirectoryDestination.open(`${dir}/share`);
   *
   * const { bytes } = await share.put(`${dir}/source.zip`, "my-project/x.zip");
   *
   * assertEquals(bytes, 7);
   * assertEquals(await Deno.readTextFile(`${dir}/share/my-project/x.zip`), "content");
   * await Deno.remove(dir, { recursive: true });
   * ```
   */
  static async open(
    dir: string,
    options: { readonly pace?: Pace; readonly wasUsed?: boolean } = {},
  ): Promise<DirectoryDestination> {
    const destination = new DirectoryDestination(dir, options.pace);
    await destination.#guard(`use '${dir}'`, {}, async () => {
      if (!options.wasUsed || (await readdir(dir)).length > 0) return;
      throw new UploadError(
        "unreachable",
        `Cannot use '${dir}': files were sent there before, and it is empty: mount the share`,
      );
    });
    return destination;
  }

  /** As {@linkcode Destination.put}. */
  async put(source: string, path: string, options: PutOptions = {}): Promise<Receipt> {
    const remote = remotePath("/", path, options.partName);
    return await this.#guard(`write '${this.#local(path)}'`, options, async (signal) => {
      const { part, ...anew } = options;
      try {
        return await this.#put(await SourceFile.open(source, options), remote, { ...options, signal });
      } catch (error) {
        // Something else was at the place of what an earlier attempt had left.
        if (part === undefined || !isOtherContent(error)) throw error;
        return await this.#put(await SourceFile.open(source, options), remote, { ...anew, signal });
      }
    });
  }

  /** As {@linkcode Destination.stat}. */
  async stat(path: string, options: CallOptions = {}): Promise<RemoteFile | undefined> {
    const local = this.#local(path);
    const bytes = await this.#guard(`look at '${local}'`, options, () => sizeOf(local));
    return bytes === undefined ? undefined : { path, bytes };
  }

  /** As {@linkcode Destination.list}. */
  async list(folder: string, options: CallOptions = {}): Promise<readonly RemoteFile[]> {
    const found: RemoteFile[] = [];
    const visit = async (path: string): Promise<void> => {
      options.signal?.throwIfAborted();
      const local = this.#local(path);
      for (const entry of await entriesOf(local)) {
        if (!isPlainName(entry.name)) continue;
        const below = `${path}/${entry.name}`;
        if (entry.isDirectory()) await visit(below);
        else if (entry.isFile()) found.push({ path: below, bytes: (await stat(join(local, entry.name))).size });
      }
    };
    await this.#guard(`list '${this.#local(folder)}'`, options, () => visit(folder));
    return found;
  }

  /** As {@linkcode Destination.rename}. */
  async rename(from: string, to: string, options: CallOptions = {}): Promise<void> {
    const [source, target] = [this.#local(from), this.#local(to)];
    const doing = `rename '${source}' to '${target}'`;
    await this.#guard(doing, options, async () => {
      if (await sizeOf(source) === undefined) throw new UploadError("not-found", `Cannot ${doing}: it is not there`);
      if (await sizeOf(target) !== undefined) {
        throw new UploadError("exists-different", `Cannot ${doing}: the new name is taken`);
      }
      await makeFolder(dirname(target));
      await rename(source, target);
      await syncFolder(dirname(target));
    });
  }

  /** As {@linkcode Destination.remove}. */
  async remove(path: string, options: CallOptions = {}): Promise<void> {
    const local = this.#local(path);
    await this.#guard(`remove '${local}'`, options, () => rm(local, { force: true }));
  }

  /** What is on its way fails. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(
      new UploadError("interrupted", `Cannot go on with '${this.name}': the destination was closed`, {
        retryable: false,
      }),
    );
    return Promise.resolve();
  }

  #local(path: string): string {
    return join(this.name, remotePath("/", path).path);
  }

  async #guard<T>(doing: string, options: CallOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const signal = AbortSignal.any([this.#closing.signal, ...(options.signal ? [options.signal] : [])]);
    signal.throwIfAborted();
    try {
      const folder = await stat(this.name);
      if (!folder.isDirectory()) throw Object.assign(new Error("Not a folder"), { code: "ENOTDIR" });
      const identity = `${folder.dev},${folder.ino}`;
      this.#identity ??= identity;
      if (identity !== this.#identity) throw new Error("Another folder than before");
    } catch (cause) {
      throw new UploadError(
        "unreachable",
        `Cannot use '${this.name}': check that the share is mounted, and permitted; if it was mounted anew, start again`,
        {
          cause,
        },
      );
    }
    try {
      return await work(signal);
    } catch (error) {
      signal.throwIfAborted();
      throw asFolderError(error, doing);
    }
  }

  async #put(source: SourceFile, remote: RemotePath, options: PutOptions & { signal: AbortSignal }): Promise<Receipt> {
    const [folder, final] = [join(this.name, remote.folder), join(this.name, remote.path)];
    const present = await findSame(source, final, remote, options);
    if (present !== undefined) {
      if (options.part && isPartNameOf(options.part.name, remote.name)) {
        await rm(join(folder, options.part.name), { force: true });
      }
      await syncFolder(folder); // whoever put it there may have been killed before that
      return present;
    }
    await makeFolder(folder);
    const name = await begin(source, folder, remote, options);
    const part = join(folder, name);
    const resumed = source.offset;
    let isKnown = resumed > 0;
    const { onPart, ...rest } = options;
    const told = {
      ...rest,
      pace: this.#pace,
      ...(onPart && {
        onPart(read: ReadSoFar) {
          isKnown = true;
          onPart({ ...read, name });
        },
      }),
    };
    try {
      await write(source, part, told);
      await source.assertUnchanged();
      if (await hashOf(part, options.signal) !== source.sha256) {
        throw new UploadError("verification-failed", `Cannot write '${final}': it arrived otherwise; try again`);
      }
      const rival = options.replace
        ? void await rename(part, final)
        : await publish(source, part, remote, final, options);
      await syncFolder(folder);
      return rival ?? { ...receipt(source, remote), verifiedBy: "retrieved", skipped: false, resumed };
    } catch (error) {
      const isWanted = options.signal.aborted || isInterruption(error);
      if (!(isKnown && isWanted)) await rm(part, { force: true }).catch(() => {}); // the first error is the one to tell
      throw error;
    }
  }
}

/** With those above it, and each name on the disk. */
async function makeFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let made = folder; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made));
}

/** @returns The receipt of the file that is there, if it is the same. @throws {UploadError} `exists-different` if it may not be replaced. */
async function findSame(
  source: SourceFile,
  final: string,
  remote: RemotePath,
  options: PutOptions & { signal: AbortSignal },
): Promise<Receipt | undefined> {
  const present = await sizeOf(final);
  if (present === undefined) return undefined;
  const verifiedBy = present === source.bytes ? await sameContent(source, final, options) : undefined;
  if (verifiedBy) return { ...receipt(source, remote), verifiedBy, skipped: true, resumed: 0 };
  if (options.replace) return undefined;
  throw new UploadError(
    "exists-different",
    `Cannot write '${final}': another file with this name is there: remove it or ask to replace it`,
  );
}

/** Makes the unfinished file one that can be written. @returns Its name. */
async function begin(
  source: SourceFile,
  folder: string,
  remote: RemotePath,
  { part, signal }: PutOptions,
): Promise<string> {
  if (part === undefined || !isPartNameOf(part.name, remote.name)) return remote.part;
  const there = await sizeOf(join(folder, part.name));
  if (there === undefined) return remote.part;
  if (await source.resume(part, there, signal)) return part.name;
  await rm(join(folder, part.name), { force: true });
  return remote.part;
}

/** Links of one file to two names are not known to every share. */
const NO_LINKS: readonly string[] = ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK", "EACCES"];

/**
 * Gives a whole file its final name, unless somebody else was first: a link, unlike renaming, never replaces. Where there are no links it is looked up
 * right before.
 *
 * @returns The receipt of the other file, if it is the same.
 */
async function publish(
  source: SourceFile,
  part: string,
  remote: RemotePath,
  final: string,
  options: PutOptions & { signal: AbortSignal },
): Promise<Receipt | undefined> {
  let rival: Receipt | undefined;
  try {
    await link(part, final);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (code !== "EEXIST" && !NO_LINKS.includes(code)) throw error;
    rival = await findSame(source, final, remote, options);
    if (rival === undefined) return void await rename(part, final);
  }
  await rm(part);
  return rival;
}

/** Whether what has arrived may be continued. */
function isInterruption(error: unknown): boolean {
  const own = asFolderError(error, "write");
  return own instanceof UploadError && own.retryable && !isOtherContent(own);
}

function isOtherContent(error: unknown): boolean {
  return error instanceof UploadError && error.code === "verification-failed";
}

function receipt(source: SourceFile, { path }: RemotePath): Pick<Receipt, "path" | "bytes" | "sha256"> {
  return { path, bytes: source.bytes, sha256: source.sha256 };
}

async function sameContent(
  source: SourceFile,
  final: string,
  options: { readonly signal: AbortSignal },
): Promise<Verification | undefined> {
  const sha256 = await source.hash(options.signal);
  await source.assertUnchanged();
  return await hashOf(final, options.signal) === sha256 ? "retrieved" : undefined;
}
