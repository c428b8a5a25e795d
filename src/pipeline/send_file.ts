import type { Ledger, Transfer } from "../database/mod.ts";
import type { Destination, Receipt } from "../upload/mod.ts";
import { VERSION } from "../version.ts";

/** A file that is at its destination, and what the ledger is to say of it. */
export interface SentFile {
  readonly receipt: Receipt;
  readonly transfer: Transfer;
}

/**
 * Brings a file to its destination, telling it what the ledger knows of an earlier one there.
 *
 * @param ledger Knows earlier transfers. Nothing is recorded yet.
 * @param destination Where to.
 * @param source The local file.
 * @param path Its path there.
 * @param options Signal, and whether another file there is replaced.
 * @throws {UploadError} If it cannot be brought there.
 */
export async function sendFile(
  ledger: Ledger,
  destination: Destination,
  source: string,
  path: string,
  options: { readonly signal?: AbortSignal; readonly replace?: boolean } = {},
): Promise<SentFile> {
  const { signal } = options;
  const before = await ledger.findTransfer(destination.name, path, signal === undefined ? {} : { signal });
  const receipt = await destination.put(source, path, {
    ...options,
    ...(before === undefined ? {} : { knownSha256: before.sha256 }),
  });
  const { bytes, sha256, verifiedBy } = receipt;
  return { receipt, transfer: { destination: destination.name, path, bytes, sha256, verifiedBy, version: VERSION } };
}
