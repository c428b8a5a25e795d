import { DatabaseError } from "../errors.ts";

/**
 * Holds a folder for this process: PGlite takes no lock of its own, and two processes on one folder silently lose each other's rows. The operating
 * system frees it when the process ends in whatever way. Not to be trusted on a network file system.
 */
export class DirectoryLock implements Disposable {
  readonly #file: Deno.FsFile;

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /**
   * Takes the lock.
   *
   * @param dir An existing folder.
   * @param shared Whether other processes will be let in; they learn it from {@linkcode DirectoryLock.isShared}.
   * @throws {DatabaseError} `database-locked`, naming the process that has it.
   */
  static async take(dir: string, shared = false): Promise<DirectoryLock> {
    const file = await Deno.open(`${dir}/lock`, { create: true, read: true, write: true, mode: 0o600 });
    try {
      if (!await file.tryLock(true)) {
        const holder = (await new Response(file.readable).text()).trim();
        const [, pid] = /^(\d+)(?: shared)?$/.exec(holder) ?? [];
        const who = pid === undefined ? "another process" : `process ${pid}`;
        throw new DatabaseError(
          "database-locked",
          `Cannot open the embedded database in '${dir}': ${who} uses it, stop that first`,
        );
      }
      await file.truncate(0);
      await file.write(new TextEncoder().encode(`${Deno.pid}${shared ? " shared" : ""}\n`));
      return new DirectoryLock(file);
    } catch (error) {
      close(file);
      throw error;
    }
  }

  /** Whether whoever has the lock lets others in, or will when it is up. */
  static async isShared(dir: string): Promise<boolean> {
    const text = await Deno.readTextFile(`${dir}/lock`);
    // Empty for a moment, until its holder has written who it is.
    return text === "" || text.trimEnd().endsWith(" shared");
  }

  /** Frees the folder. */
  [Symbol.dispose](): void {
    close(this.#file);
  }
}

/** Reading to the end closes the file by itself. */
function close(file: Deno.FsFile): void {
  try {
    file.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}
