import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";

/** Where bytes go, with their number and SHA-256. Does not own the file. */
export class FileSink {
  // Deno's own file takes several times as long for pieces of a mebibyte.
  readonly #file: FileHandle;
  readonly #hash = createHash("sha256");
  #bytes = 0;

  /** @param file Open for writing. */
  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Bytes written. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Writes all of it. @param chunk The bytes. */
  async write(chunk: Uint8Array): Promise<void> {
    const writing = this.#writeAll(chunk);
    this.#hash.update(chunk);
    await writing;
    this.#bytes += chunk.length;
  }

  /** Waits until everything is on the disk. @returns The SHA-256 in hexadecimal; nothing can be written after it. */
  async finish(): Promise<string> {
    await this.#file.sync();
    return this.#hash.digest("hex");
  }

  async #writeAll(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.length;) {
      done += (await this.#file.write(chunk, done, chunk.length - done)).bytesWritten;
    }
  }
}
