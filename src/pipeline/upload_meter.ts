import type { FileToSend } from "./file_to_send.ts";

/** How far an upload is. */
export interface UploadProgress {
  /** The file that moved. */
  readonly path: string;
  /** Bytes of it that were handed over, of how many. */
  readonly fileBytes: readonly [done: number, total: number];
  /** Files that are done with, of how many. */
  readonly files: readonly [done: number, total: number];
  /** Bytes of all files. */
  readonly bytes: readonly [done: number, total: number];
  /** Of all files together, since the start. */
  readonly bytesPerSecond: number;
  /** At this rate; undefined while there is none. */
  readonly secondsLeft: number | undefined;
}

/** Destinations tell of every piece of a file, which has no more bytes than this. */
const MAX_PIECE_BYTES = 256 * 1024;

/** Adds up what all connections have sent. */
export class UploadMeter {
  readonly #clock: () => number;
  readonly #started: number;
  readonly #tell: ((progress: UploadProgress) => void) | undefined;
  #files = 0;
  #total = 0;
  readonly #open = new Map<string, number>();
  #done = 0;
  #doneBytes = 0;
  /** What was skipped counts as done, not as sent. */
  #sent = 0;

  /** @param files Those known so far. @param tell Called with every change. @param clock In milliseconds. */
  constructor(
    files: readonly FileToSend[],
    tell?: (progress: UploadProgress) => void,
    clock: () => number = () => performance.now(),
  ) {
    [this.#clock, this.#started] = [clock, clock()];
    this.#tell = tell;
    this.add(files);
  }

  /** More files. */
  add(files: readonly FileToSend[]): void {
    this.#files += files.length;
    this.#total += files.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** One file. */
  file(file: FileToSend): { at(bytes: number): void; done(): void } {
    let before: number | undefined;
    return {
      at: (bytes) => {
        // What the first piece comes on top of was there already.
        this.#sent += before === undefined ? Math.min(bytes, MAX_PIECE_BYTES) : Math.max(0, bytes - before);
        before = bytes;
        this.#open.set(file.path, bytes);
        this.#report(file, bytes);
      },
      done: () => {
        this.#open.delete(file.path);
        this.#done += 1;
        this.#doneBytes += file.bytes;
        this.#report(file, file.bytes);
      },
    };
  }

  #report({ path, bytes: total }: FileToSend, done: number): void {
    if (this.#tell === undefined) return;
    const bytes = this.#doneBytes + this.#open.values().reduce((sum, each) => sum + each, 0);
    const rate = (this.#sent * 1_000) / Math.max(1, this.#clock() - this.#started);
    this.#tell({
      path,
      fileBytes: [done, total],
      files: [this.#done, this.#files],
      bytes: [bytes, this.#total],
      bytesPerSecond: rate,
      secondsLeft: rate > 0 ? (this.#total - bytes) / rate : undefined,
    });
  }
}
