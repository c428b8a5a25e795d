import type { Receipt } from "../upload/mod.ts";
import type { Unsendable } from "./file_to_send.ts";

/** What an upload task did. */
export interface UploadResult {
  /** Files that are whole and verified at the destination, sent now or before. */
  readonly verified: number;
  /** Of these, sent now. */
  readonly sent: number;
  /** Bytes of the files sent now. */
  readonly bytes: number;
  /** Files that could not be sent, and why. */
  readonly failed: readonly Unsendable[];
}

/** Counts files as they are done. */
export class UploadTally {
  #verified = 0;
  #sent = 0;
  #bytes = 0;
  readonly #failed: Unsendable[];

  /** @param failed What could not be sent from the start. */
  constructor(failed: readonly Unsendable[] = []) {
    this.#failed = [...failed];
  }

  /** The counts so far. */
  get result(): UploadResult {
    return { verified: this.#verified, sent: this.#sent, bytes: this.#bytes, failed: [...this.#failed] };
  }

  /** A file is whole at the destination. */
  add(receipt: Receipt): void {
    this.#verified += 1;
    if (receipt.skipped) return;
    this.#sent += 1;
    this.#bytes += receipt.bytes;
  }

  /** A file could not be sent. */
  fail(failure: Unsendable): void {
    this.#failed.push(failure);
  }
}
