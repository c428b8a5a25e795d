import { join } from "node:path";
import type { Ledger } from "../database/mod.ts";
import { type Destination, UploadError, type UploadErrorCode } from "../upload/mod.ts";
import { sendFile } from "./send_file.ts";
import { type UploadResult, UploadTally } from "./upload_result.ts";

/** How uploads report. */
export interface UploadTaskOptions {
  /** Ends it after the file in hand was cut off; nothing half-sent is visible. */
  readonly signal?: AbortSignal;
  /** Only this project. */
  readonly projectSlug?: string;
  /** Called after each file. */
  readonly onFile?: () => void;
}

/**
 * Sends the zip of every study that was imaged and not exported yet, as `<project>/<pseudonym>.zip`. A study counts as exported once its file was
 * verified at the destination and the ledger says so.
 *
 * @param ledger Knows the studies and their pseudonyms.
 * @param imageDir Holds `<pseudonym>.zip`.
 * @param destination The Data Safe Haven.
 * @param options Signal and progress.
 * @returns Counts, with a reason for every file that could not be sent.
 * @throws {UploadError} If the destination is out of reach or refuses us: then no other file would do better.
 */
export async function uploadImages(
  ledger: Ledger,
  imageDir: string,
  destination: Destination,
  options: UploadTaskOptions = {},
): Promise<UploadResult> {
  const { onFile, ...selection } = options;
  const abort = abortOf(options);
  const tally = new UploadTally();
  for await (const image of ledger.imagesToUpload(selection)) {
    const name = `${image.pseudo_study_uid}.zip`;
    const path = `${image.projectSlug}/${name}`;
    try {
      const { receipt, transfer } = await sendFile(ledger, destination, join(imageDir, name), path, abort);
      // Not aborted any more: the file is there, so the ledger must say so.
      await ledger.recordImageExported({ ...transfer, imageId: image.imageId });
      tally.add(receipt);
    } catch (error) {
      if (!isOfOneFile(error)) throw error;
      tally.fail(path, error);
    }
    onFile?.();
  }
  return tally.result;
}

/** The signal alone, for calls that take no more. */
export function abortOf({ signal }: { readonly signal?: AbortSignal }): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

/** Codes of errors that say something of one file and nothing of the next. */
const OF_ONE_FILE: readonly UploadErrorCode[] = [
  "exists-different",
  "invalid-name",
  "permission-denied",
  "source-changed",
  "source-missing",
  "verification-failed",
];

/** Whether the next file may do better. */
export function isOfOneFile(error: unknown): error is UploadError {
  return error instanceof UploadError && OF_ONE_FILE.includes(error.code);
}
