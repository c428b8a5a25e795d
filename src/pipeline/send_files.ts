import { getLogger } from "@logtape/logtape";
import type { Ledger } from "../database/mod.ts";
import { type Destination, type Receipt, UploadError, type UploadErrorCode } from "../upload/mod.ts";
import { type FileToSend, Turns, type UploadPlan } from "./file_to_send.ts";
import { sendFile, trySendFile } from "./send_file.ts";
import { UploadMeter, type UploadProgress } from "./upload_meter.ts";
import { type UploadResult, UploadTally } from "./upload_result.ts";

const log = getLogger(["pixl", "upload"]);

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
 * Sends files, the projects in turn, and records each as soon as it is there. Those that another uploader has in hand come last, and after them those
 * that lost the connection where the next file did not.
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
  const turns = new Turns(plan.files);
  const failing = new AbortController();
  const signal = AbortSignal.any([failing.signal, ...(options.signal ? [options.signal] : [])]);

  /** Those that another uploader was sending. */
  const later: FileToSend[] = [];
  /** Those that lost the connection, perhaps by what they hold, as some gateways have it: tried again last. */
  const unlucky: FileToSend[] = [];
  /** How many lost it since the last file that was there. */
  let lost = 0;

  const send = async (file: FileToSend, how: typeof trySendFile, isLast = false): Promise<void> => {
    const measured = meter.file(file);
    try {
      const receipt = await how(ledger, destination, file, {
        signal,
        replace: file.replace === true,
        onProgress: (bytes) => measured.at(bytes),
        ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }),
      });
      if (receipt === undefined) return void later.push(file);
      lost = 0;
      tally.add(receipt);
      options.onReceipt?.(receipt);
    } catch (error) {
      signal.throwIfAborted();
      if (!isOf(OF_ONE_FILE, error)) {
        if (!isOf(OF_A_CONNECTION, error)) throw error;
        if (isLast ? tally.result.verified === 0 : plan.files.length === 1 || ++lost > 1) throw error;
        if (!isLast) {
          log.warn("{path} lost the connection and comes again last: {reason}", {
            path: file.path,
            reason: error.message,
          });
          return void unlucky.push(file);
        }
      }
      tally.fail(file.path, error);
    }
    measured.done();
    options.onFile?.();
  };
  const work = async (): Promise<void> => {
    try {
      for (let turn = turns.next(); turn !== undefined; turn = turns.next()) {
        signal.throwIfAborted();
        await send(turn.file, trySendFile);
        turn.finished();
      }
      for (let file = later.shift(); file !== undefined; file = later.shift()) await send(file, sendFile);
      for (let file = unlucky.shift(); file !== undefined; file = unlucky.shift()) await send(file, sendFile, true);
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

/** Codes of errors that may be one file's fault, or the destination's: the next file tells. */
const OF_A_CONNECTION: readonly UploadErrorCode[] = ["interrupted", "session-reuse", "timeout"];

function isOf(codes: readonly UploadErrorCode[], error: unknown): error is UploadError {
  return error instanceof UploadError && codes.includes(error.code);
}
