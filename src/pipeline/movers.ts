import type { FileToSend } from "./file_to_send.ts";

/** A destination that received a file so long ago serves others, also if these are between two files just now, in milliseconds. */
const LATELY_MS = 10_000;

/** Whom a destination serves: the files in hand of which bytes went out, which may be verified for long then, and the last ones that it received. */
export class Movers {
  readonly #inHand = new Set<FileToSend>();
  readonly #now: () => number;
  #received = -Infinity;

  /** @param now Clock in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Bytes of a file went out. */
  moves(file: FileToSend): void {
    this.#inHand.add(file);
  }

  /** An attempt has ended. @returns Whether bytes of it had gone out. */
  ends(file: FileToSend, isReceived: boolean): boolean {
    if (isReceived) this.#received = this.#now();
    return this.#inHand.delete(file);
  }

  /** Whether the destination serves others. */
  get areServed(): boolean {
    return this.#inHand.size > 0 || this.#now() - this.#received < LATELY_MS;
  }
}
