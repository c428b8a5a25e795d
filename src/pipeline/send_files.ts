import type { Ledger } from "../database/mod.ts";
import { type Destination, type Receipt, UploadError, type UploadErrorCode } from "../upload/mod.ts";
import { type FileToSend, inTurn, type UploadPlan } from "./file_to_send.ts";
import { sendFile, trySendFile } from "./send_file.ts";
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
  /** For how long a file is kept for an uploader that shows no sign of life, in milliseconds; another one waits for it. @default {15_000} */
  readonly leaseMs?: number;
  /** Called after each file. */
  readonly onFile?: () => void;
  /** Called for each file that is there, also where the task then fails. */
  readonly onReceipt?: (receipt: Receipt) => void;
  /** Called as bytes go out. */
  readonly onProgress?: (progress: UploadProgress) => void;
}

/**
 * Sends files, the projects in turn, and records each as soon as it is there. Those that another uploader has in hand come last.
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

  /** Those that another uploader was sending. */
  const later: FileToSend[] = [];

  const send = async (file: FileToSend, how: typeof trySendFile): Promise<boolean> => {
    const measured = meter.file(file);
    try {
      const receipt = await how(ledger, destination, file, {
        signal,
        replace: file.replace === true,
        onProgress: (bytes) => measured.at(bytes),
        ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }),
      });
      if (receipt === undefined) return false;
      tally.add(receipt);
      options.onReceipt?.(receipt);
    } catch (error) {
      if (!isOfOneFile(error)) throw error;
      tally.fail(file.path, error);
    }
    measured.done();
    options.onFile?.();
    return true;
  };
  const work = async (): Promise<void> => {
    try {
      for (const file of queue) {
        signal.throwIfAborted();
        if (!await send(file, trySendFile)) later.push(file);
      }
      for (let file = later.shift(); file !== undefined; file = later.shift()) await send(file, sendFile);
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
