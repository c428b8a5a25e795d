import type { Ledger } from "../database/mod.ts";
import { type Destination, UploadError, type UploadErrorCode } from "../upload/mod.ts";
import { type FileToSend, inTurn, type UploadPlan } from "./file_to_send.ts";
import { sendFile } from "./send_file.ts";
import { UploadMeter, type UploadProgress } from "./upload_meter.ts";
import { type UploadResult, UploadTally } from "./upload_result.ts";

/** How uploads run and report. */
export interface UploadTaskOptions {
  /** Ends it after the files in hand were cut off; nothing half-sent is visible. */
  readonly signal?: AbortSignal;
  /** Only this project. */
  readonly projectSlug?: string;
  /** Files that are sent at once; more than the destination has connections is of no use. @default {1} */
  readonly concurrency?: number;
  /** Called after each file. */
  readonly onFile?: () => void;
  /** Called as bytes go out. */
  readonly onProgress?: (progress: UploadProgress) => void;
}

/**
 * Sends files, the projects in turn, and records each as soon as it is there.
 *
 * @param ledger Records what left.
 * @param destination Where to.
 * @param plan What to send; what cannot be is passed on to the result.
 * @param options Signal, concurrency and progress.
 * @returns Counts, with a reason for every file that could not be sent.
 * @throws {UploadError} If the destination is out of reach or refuses us: then no other file would do better. Those in hand are cut off.
 */
export async function sendFiles(
  ledger: Ledger,
  destination: Destination,
  plan: UploadPlan,
  options: UploadTaskOptions = {},
): Promise<UploadResult> {
  const tally = new UploadTally(plan.failed);
  const meter = new UploadMeter(plan.files, options.onProgress);
  const queue = inTurn(plan.files).values();
  const failing = new AbortController();
  const signal = AbortSignal.any([failing.signal, ...(options.signal ? [options.signal] : [])]);

  const send = async (file: FileToSend): Promise<void> => {
    using measured = meter.file(file);
    try {
      const { receipt, transfer } = await sendFile(ledger, destination, file.source, file.path, {
        signal,
        replace: file.replace === true,
        onProgress: (bytes) => measured.at(bytes),
      });
      // Not aborted any more: the file is there, so the ledger must say so.
      await file.record(transfer);
      tally.add(receipt);
    } catch (error) {
      if (!isOfOneFile(error)) throw error;
      tally.fail(file.path, error);
    }
  };
  const work = async (): Promise<void> => {
    try {
      for (const file of queue) {
        signal.throwIfAborted();
        await send(file);
        options.onFile?.();
      }
    } catch (error) {
      failing.abort(error);
      throw error;
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: options.concurrency ?? 1 }, work));
  if (ends.some(({ status }) => status === "rejected")) throw signal.reason;
  return tally.result;
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
function isOfOneFile(error: unknown): error is UploadError {
  return error instanceof UploadError && OF_ONE_FILE.includes(error.code);
}
