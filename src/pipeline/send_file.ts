import { getLogger } from "@logtape/logtape";
import type { Ledger, Transfer } from "../database/mod.ts";
import type { Destination, PartRecord, PutOptions, Receipt } from "../upload/mod.ts";
import { VERSION } from "../version.ts";

const log = getLogger(["pixl", "upload"]);

/** A file that is at its destination, and what the ledger is to say of it. */
export interface SentFile {
  readonly receipt: Receipt;
  readonly transfer: Transfer;
}

/**
 * Brings a file to its destination, telling it what the ledger knows of an earlier one there, or of an attempt that was cut off, and the ledger how far
 * this one has come.
 *
 * @param ledger Knows earlier transfers. That the file is there is not recorded yet.
 * @param destination Where to.
 * @param source The local file.
 * @param path Its path there.
 * @param options Signal, progress, and whether another file there is replaced.
 * @throws {UploadError} If it cannot be brought there.
 */
export async function sendFile(
  ledger: Ledger,
  destination: Destination,
  source: string,
  path: string,
  options: Pick<PutOptions, "signal" | "replace" | "onProgress"> = {},
): Promise<SentFile> {
  const call = options.signal === undefined ? {} : { signal: options.signal };
  const before = await ledger.findTransfer(destination.name, path, call);
  const part = await ledger.findPart(destination.name, path, call);
  let noting: Promise<void> | undefined;
  const onPart = (record: PartRecord) => {
    const last = noting ?? Promise.resolve();
    noting = last.then(() => ledger.notePart(destination.name, path, record)).catch((error: unknown) => {
      // Only a resumption would have needed it.
      log.warn("Cannot note how far an upload has come, and go on: {error}", { error });
    });
  };
  try {
    const receipt = await destination.put(source, path, {
      ...options,
      onPart,
      ...(before === undefined ? {} : { knownSha256: before.sha256 }),
      ...(part === undefined ? {} : { part }),
    });
    const { bytes, sha256, verifiedBy } = receipt;
    await noting;
    if (part !== undefined || noting !== undefined) await ledger.forgetPart(destination.name, path);
    return { receipt, transfer: { destination: destination.name, path, bytes, sha256, verifiedBy, version: VERSION } };
  } finally {
    await noting;
  }
}
