import { dirname } from "node:path";
import type { KeptMessage } from "./broker.ts";
import { isThere, readMessages, syncFolder } from "./message_file.ts";
import { MessageFileError, onDisk } from "./message_file_error.ts";
import { writeLine } from "./message_line.ts";

/** Text to gather before it is written, in UTF-16 units. */
const WRITE_LENGTH = 256 * 1024;

const FULL_DISK =
  "make room, or see to the disk; what was written stays, and draining to the same file goes on from there";

/** The unfinished file of a drain. Only one process at a time has it. */
export class PartFile implements AsyncDisposable {
  readonly #path: string;
  readonly #queue: string;
  readonly #file: Deno.FsFile;
  /** Bytes that are safely on disk. */
  #end: number;
  #count: number;
  #appending: Promise<void> = Promise.resolve();
  #finished = false;

  private constructor(path: string, queue: string, file: Deno.FsFile, end: number, count: number) {
    this.#path = path;
    this.#queue = queue;
    this.#file = file;
    this.#end = end;
    this.#count = count;
  }

  /**
   * Makes it, or goes on with one that was left: a last line that was not written to its end is cut off.
   *
   * @throws {MessageFileError} If it is in use, is of another queue, is no file of messages, or cannot be written.
   */
  static async open(path: string, queue: string): Promise<PartFile> {
    const file = await onDisk(`write '${path}'`, FULL_DISK, () => openOwn(path));
    try {
      let [end, count] = [0, 0];
      for await (const { end: reached, queue: drained = queue } of readMessages(file, path, { torn: true })) {
        if (drained !== queue) {
          throw new MessageFileError(
            "file-exists",
            `Cannot drain '${queue}' to '${path}': it holds messages of '${drained}', finish that drain or give another name`,
          );
        }
        [end, count] = [reached, count + 1];
      }
      await onDisk(`write '${path}'`, FULL_DISK, async () => {
        // Whatever the umask, and whoever made it.
        await Deno.chmod(path, 0o600);
        await file.truncate(end);
        await file.sync();
        await syncFolder(dirname(path));
        await file.seek(end, Deno.SeekMode.Start);
      });
      return new PartFile(path, queue, file, end, count);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Messages in it. */
  get count(): number {
    return this.#count;
  }

  /** Writes messages and forces them to the disk: all of them, or none. */
  append(messages: readonly KeptMessage[]): Promise<void> {
    return this.#appending = this.#append(messages);
  }

  /** Gives it its final name. Nothing can be written after it. */
  async finish(path: string): Promise<void> {
    await onDisk(`rename '${this.#path}'`, FULL_DISK, async () => {
      await this.#file.sync();
      await refuseExisting(path);
      await Deno.rename(this.#path, path);
      this.#finished = true;
      await syncFolder(dirname(path));
    });
  }

  /** Closes it, when what is being written is written. An empty one is removed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#appending.catch(() => {});
    // Before it is closed, since it is ours only until then.
    if (this.#count === 0 && !this.#finished) await Deno.remove(this.#path).catch(() => {});
    this.#file.close();
  }

  async #append(messages: readonly KeptMessage[]): Promise<void> {
    let end = this.#end;
    try {
      await onDisk(`write '${this.#path}'`, FULL_DISK, async () => {
        let text = "";
        for (const message of messages) {
          text += writeLine(this.#queue, message);
          if (text.length < WRITE_LENGTH) continue;
          end += await writeAll(this.#file, text);
          text = "";
        }
        end += await writeAll(this.#file, text);
        await this.#file.sync();
      });
    } catch (error) {
      // These stay on the queue, so they need not be in the file too.
      await this.#file.truncate(this.#end).catch(() => {});
      throw error;
    }
    this.#end = end;
    this.#count += messages.length;
  }
}

/** @throws {MessageFileError} If something has that name. */
export async function refuseExisting(path: string): Promise<void> {
  if (!await isThere(path)) return;
  throw new MessageFileError(
    "file-exists",
    `Cannot write '${path}': it is there already, move it away or give another name`,
  );
}

/** Opens a file that is there, or a new one, for this process alone. */
async function openOwn(path: string): Promise<Deno.FsFile> {
  const file = await openOrMake(path);
  try {
    if (!await file.tryLock(true)) {
      throw new MessageFileError("file-in-use", `Cannot write '${path}': another process does, wait for its end`);
    }
    const [opened, named] = [await file.stat(), await Deno.lstat(path)];
    // A link would lead these messages to where somebody else wants them.
    if (!named.isFile || named.ino !== opened.ino || named.dev !== opened.dev) {
      throw new MessageFileError("file-exists", `Cannot write '${path}': it is no file of its own, give another name`);
    }
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

async function openOrMake(path: string): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path, { read: true, write: true, createNew: true, mode: 0o600 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    return await Deno.open(path, { read: true, write: true });
  }
}

async function writeAll(file: Deno.FsFile, text: string): Promise<number> {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
  return bytes.length;
}
