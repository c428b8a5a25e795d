import { delay } from "@std/async";
import type { Ledger } from "../database/mod.ts";
import { PixlError } from "../errors.ts";
import { type Destination, type Receipt, UploadError } from "../upload/mod.ts";
import type { FileToSend, Unsendable } from "./file_to_send.ts";
import { sendFiles, type UploadTaskOptions } from "./send_files.ts";
import { planZips } from "./upload_images.ts";
import { type UploadResult, UploadTally } from "./upload_result.ts";
import { findZips, type Zip } from "./zips.ts";

/** Longest pause after failures, in times of the interval. */
const MAX_PAUSE = 32;

/** How folders are watched. */
export interface WatchOptions extends Omit<UploadTaskOptions, "onFailure"> {
  /** Pause between two looks, in milliseconds. A file that changes within it is not finished. @default {5_000} */
  readonly intervalMs?: number;
  /** Called once for each file, and for a destination or a database out of reach, with the reason why it must wait. */
  readonly onProblem?: (problem: Unsendable) => void;
}

/**
 * Sends zips as they appear in folders, until it is aborted. A zip is sent when it has stayed the same between two looks, has its end, and the ledger says
 * that the study of its name is done; it looks on while others are on their way. A folder that cannot be read is looked into again. A zip that could not be
 * sent is tried again, and so is a destination or a database that is out of reach or full, after pauses that double up to 32 times the interval; at once if
 * the zip has changed.
 *
 * @param ledger Knows the studies.
 * @param dirs Looked through without the folders below them.
 * @param destination The Data Safe Haven.
 * @param options Signal, interval, and who is told.
 * @returns All that was sent, once the signal has aborted. Files in hand are cut off.
 * @throws {UploadError} If the destination refuses us, as {@linkcode DatabaseError} if the database does: waiting does not change that.
 */
export async function watchImages(
  ledger: Ledger,
  dirs: readonly string[],
  destination: Destination,
  options: WatchOptions & { readonly signal: AbortSignal },
): Promise<UploadResult> {
  const { signal, intervalMs = 5_000, onProblem, ...sending } = options;
  const total = new UploadTally();
  const told = new Set<string>();
  const tell = (problem: Unsendable) => {
    const key = `${problem.path} ${problem.reason}`;
    if (!told.has(key)) onProblem?.(problem);
    told.add(key);
  };
  const bear = (error: unknown): void => {
    signal.throwIfAborted();
    if (!(error instanceof PixlError && error.kind === "unavailable")) throw error;
    tell({ path: error instanceof UploadError ? destination.name : "ledger", reason: error.message });
  };
  /** The versions of the last look, by zip. */
  let before = new Map<string, string>();
  const keyOf = ({ source }: Pick<Zip, "source">) => `${source} ${before.get(source)}`;
  /** By zip and version: looks until it is tried again, and after the failure before. */
  const resting = new Map<string, { left: number; pause: number }>();
  /** What is being sent, by path at the destination. */
  const inHand = new Map<string, { readonly key: string; isDone: boolean }>();

  /** What is to be sent that is not in hand. */
  const look = async (): Promise<FileToSend[]> => {
    // Not earlier: whatever ended during the last look may have been in hand when the ledger was asked.
    for (const [path, { isDone }] of inHand) if (isDone) inHand.delete(path);
    const zips: Zip[] = [];
    for (const dir of dirs) {
      try {
        zips.push(...await findZips([dir]));
      } catch (error) {
        if (!(error instanceof UploadError)) throw error;
        tell({ path: dir, reason: error.message });
      }
    }
    const finished = zips.filter(({ source, version }) => before.get(source) === version);
    before = new Map(zips.map(({ source, version }) => [source, version]));
    const current = new Set(zips.map(keyOf));
    for (const key of resting.keys()) if (!current.has(key)) resting.delete(key);
    const plan = await planZips(ledger, finished, options);
    plan.failed.forEach(tell);
    return plan.files
      .filter((file) => {
        const rest = resting.get(keyOf(file));
        return !inHand.has(file.path) && (rest === undefined || --rest.left < 0);
      })
      .map((file) => {
        const work = { key: keyOf(file), isDone: false };
        inHand.set(file.path, work);
        return {
          ...file,
          async record(transfer) {
            await file.record(transfer);
            resting.delete(work.key);
            work.isDone = true;
          },
        };
      });
  };
  async function* arrivals(ending: AbortSignal): AsyncGenerator<FileToSend[], void> {
    for (;;) {
      await delay(intervalMs, { signal: ending });
      yield await look().catch((error) => {
        bear(error);
        return [];
      });
    }
  }
  const onFailure = (failure: Unsendable): void => {
    tell(failure);
    const work = inHand.get(failure.path);
    if (work === undefined) return;
    work.isDone = true;
    const pause = Math.min(2 * (resting.get(work.key)?.pause ?? 0.5), MAX_PAUSE);
    resting.set(work.key, { left: pause, pause });
  };
  const onReceipt = (receipt: Receipt): void => {
    total.add(receipt);
    sending.onReceipt?.(receipt);
  };
  try {
    for (let pause = 1;;) {
      try {
        const files = await look();
        if (files.length > 0) {
          const plan = { files, failed: [], arrivals };
          await sendFiles(ledger, destination, plan, { ...sending, signal, onReceipt, onFailure });
        }
        pause = 1;
      } catch (error) {
        bear(error);
        pause = Math.min(2 * pause, MAX_PAUSE);
      }
      inHand.clear();
      await delay(pause * intervalMs, { signal });
    }
  } catch (error) {
    if (signal.aborted) return total.result;
    throw error;
  }
}
