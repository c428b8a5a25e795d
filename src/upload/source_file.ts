import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { type FileHandle, open, stat } from "node:fs/promises";
import { Readable } from "node:stream";
import { type ChecksumKind, startChecksum } from "./checksum.ts";
import type { PartRecord, PutOptions } from "./destination.ts";
import { UploadError } from "./errors.ts";
import type { Pace } from "./pace.ts";

/** Measured: a third less processor time than Node's 64 KiB. */
const CHUNK_BYTES = 256 * 1024;

/** A transfer can go on from multiples of this. Smaller files begin anew. */
export const PART_BYTES = 16 * 1024 * 1024;

/** How far a file was read; see {@linkcode PartRecord}. */
export type ReadSoFar = Omit<PartRecord, "name">;

/** What is told while a file is read. */
export interface ReadOptions {
  /** Called with the bytes read so far. */
  readonly onProgress?: (bytes: number) => void;
  /** Called after every {@linkcode PART_BYTES}. */
  readonly onPart?: (part: ReadSoFar) => void;
  /** Taken on the way too; see {@linkcode SourceFile.checksum}. */
  readonly checksum?: ChecksumKind | undefined;
  /** How fast it may be read. */
  readonly pace?: Pace | undefined;
  /** Ends the waiting for that. */
  readonly signal?: AbortSignal;
}

/** A local file that is read once, hashed meanwhile, and must stay as it is. */
export class SourceFile {
  /** Size when it was opened. */
  readonly bytes: number;
  readonly #path: string;
  readonly #state: string;
  readonly #version: string;
  readonly #expectedSha256: string | undefined;
  #hash = createHash("sha256");
  #offset = 0;
  #sha256: string | undefined;
  #checksum: string | undefined;
  #failure: unknown;

  private constructor(path: string, { state, version, bytes }: State, expectedSha256: string | undefined) {
    this.#path = path;
    this.#expectedSha256 = expectedSha256?.toLowerCase();
    this.#state = state;
    this.#version = version;
    this.bytes = bytes;
  }

  /**
   * Looks at a file.
   *
   * @param path Local path.
   * @param options `expectedSha256` as in {@linkcode PutOptions}.
   * @throws {UploadError} `source-missing` if there is no regular file.
   */
  static async open(path: string, { expectedSha256 }: Pick<PutOptions, "expectedSha256"> = {}): Promise<SourceFile> {
    return new SourceFile(path, await look(path), expectedSha256);
  }

  /** SHA-256 in hex of what was read, once all of it was. */
  get sha256(): string {
    if (this.#sha256 === undefined) throw changed(this.#path);
    return this.#sha256;
  }

  /** What {@linkcode ReadOptions.checksum} asked for, once all of the file was read from its start. */
  get checksum(): string | undefined {
    return this.#checksum;
  }

  /** What went wrong on this side while reading, if anything: a failure of the connection is then only its echo. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Where {@linkcode stream} begins. */
  get offset(): number {
    return this.#offset;
  }

  /**
   * Goes on where an earlier attempt stopped, if the file is still the one that was being sent.
   *
   * @param part What was handed over then.
   * @param there Bytes that the destination has of it.
   * @param signal Stops reading.
   * @returns Whether {@linkcode stream} will begin at {@linkcode offset}, else it begins at 0.
   */
  async resume(part: ReadSoFar | undefined, there: number, signal?: AbortSignal): Promise<boolean> {
    if (part === undefined || part.source !== this.#version) return false;
    if (!(part.bytes > 0 && part.bytes <= there && there <= this.bytes)) return false;
    const hash = createHash("sha256");
    await using file = await this.#open();
    for await (const chunk of this.#chunks(file, 0, part.bytes)) {
      signal?.throwIfAborted();
      hash.update(chunk);
    }
    if (hash.copy().digest("hex") !== part.sha256) return false;
    [this.#hash, this.#offset] = [hash, part.bytes];
    return true;
  }

  /** Begins anew. */
  rewind(): void {
    [this.#hash, this.#offset] = [createHash("sha256"), 0];
  }

  /** The content from {@linkcode offset}. A chunk must be done with when the next but one is asked for, which streams do that wait for `drain`. */
  stream(options: ReadOptions = {}): Readable {
    return Readable.from(this.#read(options), { objectMode: false, highWaterMark: 1 });
  }

  /**
   * As {@linkcode stream}, but of a small file all at once, which then is nobody's progress yet; unless it is to be slow.
   *
   * @throws {UploadError} As {@linkcode assertUnchanged}, if it is not what was expected.
   */
  async content({ onProgress, ...options }: ReadOptions = {}): Promise<Readable | Uint8Array> {
    if (this.bytes > CHUNK_BYTES || this.#offset > 0 || options.pace !== undefined) {
      return this.stream({ ...options, ...(onProgress && { onProgress }) });
    }
    const pieces = await Array.fromAsync(this.#read(options));
    this.#assertExpected();
    const [first = new Uint8Array(), ...others] = pieces; // some file systems give less than was asked for
    return others.length === 0 ? first : Buffer.concat(pieces);
  }

  /** Reads the file without sending it. @param signal Stops reading. @returns Its SHA-256 in hex. */
  async hash(signal?: AbortSignal): Promise<string> {
    if (this.#sha256 === undefined) {
      for await (const _chunk of this.#read()) signal?.throwIfAborted();
    }
    return this.sha256;
  }

  /** @throws {UploadError} `source-changed` if the file is not what it was when opened, or what was read is not what was expected. */
  async assertUnchanged(): Promise<void> {
    const { state } = await look(this.#path);
    if (state !== this.#state) throw changed(this.#path);
    this.#assertExpected();
  }

  #assertExpected(): void {
    if (this.#expectedSha256 === undefined || this.sha256 === this.#expectedSha256) return;
    throw new UploadError(
      "source-changed",
      `Cannot upload '${this.#path}': it does not hold what was expected, by its SHA-256; make it again`,
    );
  }

  async *#read({ onProgress, onPart, checksum, pace, signal }: ReadOptions = {}): AsyncGenerator<Uint8Array, void> {
    await using file = await this.#open();
    const [start, hash] = [this.#offset, this.#hash];
    this.rewind(); // whoever reads again begins anew
    const sum = checksum && startChecksum(checksum);
    let bytes = start;
    const call = signal === undefined ? {} : { signal };
    let used: Uint8Array<ArrayBuffer> | undefined;
    for await (const chunk of this.#chunks(file, start, this.bytes + 1, pace?.pieceBytes)) {
      await pace?.take(chunk.length, call);
      const before = bytes;
      bytes += chunk.length;
      hash.update(chunk);
      sum?.update(chunk);
      onProgress?.(bytes);
      yield chunk;
      // Measured: four transfers at once grow to 410 MB if this is left to the garbage collector, to 160 MB so. Should somebody still hold it, it has
      // become empty, and the file too small to be taken for whole. Small chunks, of a slow pace, may be kept together and are left alone.
      if (used?.length === CHUNK_BYTES) used.buffer.transfer(0);
      used = chunk;
      if (onPart && Math.floor(bytes / PART_BYTES) > Math.floor(before / PART_BYTES)) {
        onPart({ source: this.#version, bytes, sha256: hash.copy().digest("hex") });
      }
    }
    if (bytes !== this.bytes) this.#fail(changed(this.#path));
    this.#sha256 = hash.digest("hex");
    if (start === 0) this.#checksum = sum?.hex();
  }

  async *#chunks(
    file: FileHandle,
    from: number,
    to: number,
    most = CHUNK_BYTES,
  ): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
    for (let at = from; at < to;) {
      const length = Math.min(most, to - at);
      const read = file.read(new Uint8Array(length), 0, length, at);
      const { buffer, bytesRead } = await read.catch((cause) => this.#fail(missing(this.#path, cause)));
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
      if (at === this.bytes && bytesRead < length) return; // it has looked beyond the end
    }
  }

  async #open(): Promise<FileHandle> {
    return await open(this.#path).catch((cause) => this.#fail(missing(this.#path, cause)));
  }

  /** The stream's consumer hears of it too, but cannot tell it from its own failures. */
  #fail(error: UploadError): never {
    this.#failure = error;
    throw error;
  }
}

interface State {
  /** Of this file. */
  readonly state: string;
  /** The same for a copy that keeps the time, and after a restart of a host whose file system numbers its files anew. */
  readonly version: string;
  readonly bytes: number;
}

async function look(path: string): Promise<State> {
  const file = await stat(path, { bigint: true }).catch((cause) => {
    throw new UploadError("source-missing", `Cannot upload '${path}': check that it is there and may be read`, {
      cause,
    });
  });
  if (!file.isFile()) throw new UploadError("source-missing", `Cannot upload '${path}': it is not a file`);
  const version = [file.size, file.mtimeNs].join();
  return { state: `${file.ino},${version}`, version, bytes: Number(file.size) };
}

function missing(path: string, cause: unknown): UploadError {
  return new UploadError("source-missing", `Cannot upload '${path}': check that it is there and may be read`, {
    cause,
  });
}

function changed(path: string): UploadError {
  return new UploadError(
    "source-changed",
    `Cannot upload '${path}': it changed while it was read; upload it once it is complete`,
  );
}
