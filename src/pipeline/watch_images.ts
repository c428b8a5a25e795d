import { delay } from "@std/async";
import type { Ledger } from "../database/mod.ts";
import { PixlError } from "../errors.ts";
import { type Destination, UploadError } from "../upload/mod.ts";
import type { FileToSend, Unsendable } from "./file_to_send.ts";
import { sendFiles, type UploadTaskOptions } from "./send_files.ts";
import { planZips } from "./upload_images.ts";
import { type UploadResult, UploadTally } from "./upload_result.ts";
import { findZips, type Zip } from "./zips.ts";

/** Longest pause after failures, in times of the interval. */
const MAX_PAUSE = 32;

/** How folders are watched. */
export interface WatchOptions extends UploadTaskOptions {
  /** Pause between two looks, in milliseconds. A file that changes within it is not finished. @default {5_000} */
  readonly intervalMs?: number;
  /** Called after each look that sent something. */
  readonly onRound?: (result: UploadResult) => void;
  /** Called once for each file, and for a destination or a database out of reach, with the reason why it must wait. */
  readonly onProblem?: (problem: Unsendable) => void;
}

/**
 * Sends zips as they appear in folders, until it is aborted. A zip is sent when it has stayed the same between two looks, has its end, and the ledger says
 * that the study of its name is done. A folder that cannot be read is looked into again. A zip that could not be sent is tried again, and so is
 * a destination or a database that is out of reach or full, after pauses that double up to 32 times the interval; at once if the zip has changed.
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
  const { signal, intervalMs = 5_000, onRound, onProblem, ...sending } = options;
  const total = new UploadTally();
  let before = new Map<string, string>();
  const told = new Set<string>();
  const tell = (problem: Unsendable) => {
    const key = `${problem.path} ${problem.reason}`;
    if (!told.has(key)) onProblem?.(problem);
    told.add(key);
  };
  /** By zip and version: looks until it is tried again, and after the failure before. */
  const resting = new Map<string, { left: number; pause: number }>();
  const look = async (): Promise<void> => {
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
    const current = new Set(zips.map(({ source, version }) => `${source} ${version}`));
    for (const key of resting.keys()) if (!current.has(key)) resting.delete(key);
    const plan = await planZips(ledger, finished, options);
    plan.failed.forEach(tell);
    const keyOf = ({ source }: FileToSend) => `${source} ${before.get(source)}`;
    const files = plan.files.filter((file) => {
      const rest = resting.get(keyOf(file));
      return rest === undefined || --rest.left < 0;
    });
    if (files.length === 0) return;
    const result = await sendFiles(ledger, destination, { files, failed: [] }, {
      ...sending,
      signal,
      onReceipt(receipt) {
        total.add(receipt);
        sending.onReceipt?.(receipt);
      },
    });
    for (const file of files) {
      const key = keyOf(file);
      const pause = Math.min(2 * (resting.get(key)?.pause ?? 0.5), MAX_PAUSE);
      if (result.failed.some(({ path }) => path === file.path)) resting.set(key, { left: pause, pause });
      else resting.delete(key);
    }
    result.failed.forEach(tell);
    onRound?.(result);
  };
  try {
    for (let pause = 1;;) {
      try {
        await look();
        pause = 1;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof PixlError && error.kind === "unavailable")) throw error;
        tell({ path: error instanceof UploadError ? destination.name : "ledger", reason: error.message });
        pause = Math.min(2 * pause, MAX_PAUSE);
      }
      await delay(pause * intervalMs, { signal });
    }
  } catch (error) {
    if (signal.aborted) return total.result;
    throw error;
  }
}
