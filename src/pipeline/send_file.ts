import { delay } from "@std/async";
import { getLogger } from "@logtape/logtape";
import { DatabaseError, LeaseLostError, type Ledger, type Transfer } from "../database/mod.ts";
import { PixlError } from "../errors.ts";
import {
  type CallOptions,
  type Destination,
  partNameOf,
  type PartRecord,
  type PutOptions,
  type Receipt,
  UploadError,
} from "../upload/mod.ts";
import { VERSION } from "../version.ts";
import { keepLease } from "./kept_lease.ts";

const log = getLogger(["pixl", "upload"]);

/** Pause before a path is asked for again that another uploader sends to, in milliseconds. */
export const CLAIM_AGAIN_MS = 500;

/** How {@linkcode sendFile} sends. */
export interface SendOptions extends Pick<PutOptions, "signal" | "replace" | "onProgress"> {
  /** For how long the path is kept for an uploader that shows no sign of life, in milliseconds. @default {15_000} */
  readonly leaseMs?: number;
}

/** A file, where it goes, and who tells the ledger that it is there. */
export interface Sending {
  /** The local file. */
  readonly source: string;
  /** Its path at the destination. */
  readonly path: string;
  /** SHA-256 in hex that the file must have, else it is not sent. */
  readonly expectedSha256?: string;
  /** Called right before it is sent. @throws {UploadError} If it is not to be sent after all. */
  check?(call: CallOptions): Promise<void>;
  /** Tells the ledger. */
  record(transfer: Transfer): Promise<void>;
}

/** As {@linkcode trySendFile}, but waits until no other uploader sends to the path: what it has sent is then there, and left alone if equal. */
export async function sendFile(
  ledger: Ledger,
  destination: Destination,
  file: Sending,
  options: SendOptions = {},
): Promise<Receipt> {
  for (;;) {
    const receipt = await trySendFile(ledger, destination, file, options);
    if (receipt !== undefined) return receipt;
    await delay(CLAIM_AGAIN_MS, options.signal && { signal: options.signal });
  }
}

/**
 * Brings a file to its destination and has that recorded; meanwhile nobody else who uses this ledger sends to the path. The destination is told what the
 * ledger knows of an earlier file there, or of an attempt that was cut off; the ledger, under which name this attempt begins and how far it has come.
 *
 * @param ledger Knows earlier transfers.
 * @param destination Where to.
 * @param file What to send.
 * @param options Signal, progress, and whether another file there is replaced.
 * @returns The receipt; `undefined` if another uploader sends to the path just now.
 * @throws {UploadError} If it cannot be brought there.
 * @throws {DatabaseError} If the ledger cannot be asked.
 */
export async function trySendFile(
  ledger: Ledger,
  destination: Destination,
  { source, path, expectedSha256, check, record }: Sending,
  { signal, leaseMs = 15_000, ...options }: SendOptions = {},
): Promise<Receipt | undefined> {
  const call = signal === undefined ? {} : { signal };
  const lease = { owner: crypto.randomUUID(), leaseMs };
  const name = partNameOf(path);
  const part = await ledger.claimUpload(destination.name, path, name, lease, call);
  if (part === undefined) return undefined;
  let noting = Promise.resolve();
  const note = (what: string, write: (timeout: AbortSignal) => Promise<void>) => {
    // Only whoever comes after this attempt would have needed it, and can do without.
    noting = noting.then(() => write(AbortSignal.timeout(leaseMs))).catch((error: unknown) => {
      log.warn("Cannot note {what}, and go on: {error}", { what, error });
    });
  };
  let newest: PartRecord | undefined;
  const notePart = (record: PartRecord) => {
    const isPending = newest !== undefined;
    newest = record;
    if (isPending) return; // one that waits for a slow database notes this in its place
    note("how far an upload has come", async (timeout) => {
      const part = newest ?? record;
      newest = undefined;
      const both = AbortSignal.any([timeout, ...(signal ? [signal] : [])]);
      await ledger.notePart(destination.name, path, part, lease.owner, { signal: both });
    });
  };
  await using kept = keepLease(leaseMs, (call) => ledger.renewUpload(destination.name, path, lease, call));
  let isOver = false;
  try {
    await check?.(call);
    const before = await ledger.findTransfer(destination.name, path, call);
    const receipt = await destination.put(source, path, {
      ...options,
      ...(expectedSha256 === undefined ? {} : { expectedSha256 }),
      partName: part.name,
      signal: AbortSignal.any([kept.lost, ...(signal ? [signal] : [])]),
      onPart: notePart,
      // Of an attempt whose end nobody knows, other bytes may be there by now than those that the ledger vouches for.
      ...(part.name === name ? before && { knownSha256: before.sha256 } : { part }),
    });
    const { bytes, sha256, verifiedBy } = receipt;
    // Not aborted any more: the file is there, so the ledger must say so.
    await record({ destination: destination.name, path, bytes, sha256, verifiedBy, version: VERSION });
    isOver = true;
    return receipt;
  } catch (cause) {
    // What does not verify is not gone on with, also where the destination does not let it be removed.
    isOver = cause instanceof UploadError && cause.code === "verification-failed";
    if (kept.lost.aborted && cause === kept.lost.reason && !(cause instanceof PixlError)) {
      const reason =
        `Cannot go on with '${path}': the database did not say in time whether it is still ours; try again`;
      throw new DatabaseError("database-unreachable", reason, { cause });
    }
    if (!(cause instanceof LeaseLostError)) throw cause;
    const reason = `Cannot go on with '${path}': another uploader has taken it over since this one was held up`;
    throw new UploadError("interrupted", reason, { cause });
  } finally {
    note(
      "the end of an upload",
      (timeout) =>
        isOver
          ? ledger.forgetPart(destination.name, path, lease.owner, { signal: timeout })
          : ledger.releaseUpload(destination.name, path, lease.owner, { signal: timeout }),
    );
    await noting;
  }
}
