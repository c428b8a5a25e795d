import type { Transfer } from "../database/mod.ts";

/** A local file, and where it goes. */
export interface FileToSend {
  /** Files of projects are sent in turn, so that a large one does not hold up the others. */
  readonly projectSlug: string;
  /** The local file. */
  readonly source: string;
  /** Its size in bytes. */
  readonly bytes: number;
  /** Its path at the destination. */
  readonly path: string;
  /** Its SHA-256 in hex, where that is known already. */
  readonly sha256?: string;
  /** SHA-256 in hex that it must have, else it is not sent. */
  readonly expectedSha256?: string;
  /** Another file with this name is replaced. */
  readonly replace?: boolean;
  /** Called right before it is sent. @throws {UploadError} If it is not any more what was to be sent. */
  check?(): Promise<void>;
  /** Tells the ledger that it is there. */
  record(transfer: Transfer): Promise<void>;
}

/** A file that cannot be sent. */
export interface Unsendable {
  /** Its path at the destination, or the local file where that is not known. */
  readonly path: string;
  /** Without identifiers. */
  readonly reason: string;
}

/** What is to be sent, and what cannot be. */
export interface UploadPlan {
  readonly files: readonly FileToSend[];
  readonly failed: readonly Unsendable[];
  /** What need not be sent, since it was already. */
  readonly left?: readonly Unsendable[];
}

/**
 * Puts files of several projects in an order in which each project has its turn; within a project the order stays.
 *
 * @param files In any order.
 * @returns The same files.
 */
export function inTurn(files: readonly FileToSend[]): FileToSend[] {
  const seen = new Map<string, number>();
  const placed = files.map((file) => {
    const place = seen.get(file.projectSlug) ?? 0;
    seen.set(file.projectSlug, place + 1);
    return { file, place };
  });
  return placed.sort((a, b) => a.place - b.place).map(({ file }) => file);
}
