import { createHash } from "node:crypto";

/** Where bytes go, with their number and SHA-256. Does not own the file. */
export class FileSink {
  readonly #file: Deno.FsFile;
  readonly #hash = createHash("sha256");
  #bytes = 0;

  /** @param file Open for writing. */
  constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /** Bytes written. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Writes all of it. @param chunk The bytes. */
  async write(chunk: Uint8Array): Promise<void> {
    let rest = chunk;
    while (rest.length > 0) rest = rest.subarray(await this.#file.write(rest));
    this.#hash.update(chunk);
    this.#bytes += chunk.length;
  }

  /** Waits until everything is on the disk. @returns The SHA-256 in hexadecimal; nothing can be written after it. */
  async finish(): Promise<string> {
    await this.#file.sync();
    return this.#hash.digest("hex");
  }
}
