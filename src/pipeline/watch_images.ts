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

/** A zip that is being sent. */
interface Work {
  readonly source: string;
  /** It and its version. */
  readonly key: string;
  readonly projectSlug: string;
  /** Whether it was sent, or not: it may be looked at again. */
  isDone: boolean;
}

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
 * sent is tried again, and so is a destination or a database that is out of reach, or a project that nothing gets through of, after pauses that double up to
 * 32 times the interval; at once if the zip has changed.
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
  const { signal, intervalMs = 5_000 } = options;
  const total = new UploadTally();
  /** What a caller's function threw: not an outage, though it be an error of one. */
  let thrown: { readonly error: unknown } | undefined;
  const guarded = <A extends readonly unknown[]>(call?: (...args: A) => void) => (...args: A): void => {
    try {
      call?.(...args);
    } catch (error) {
      thrown = { error };
      throw error;
    }
  };
  const onProblem = guarded(options.onProblem);
  /** By path, the reason that was told last. */
  const told = new Map<string, string>();
  const outages = new Map<string, string>();
  const folders = new Map<string, string>();
  const tell = ({ path, reason }: Unsendable, known = told) => {
    if (known.get(path) !== reason) onProblem({ path, reason });
    known.set(path, reason);
  };
  const bear = (error: unknown): void => {
    signal.throwIfAborted();
    if (thrown !== undefined) throw thrown.error;
    if (!(error instanceof PixlError && mayPass(error))) throw error;
    tell({ path: error instanceof UploadError ? destination.name : "ledger", reason: error.message }, outages);
  };
  /** The versions of the last look, by zip. */
  let before = new Map<string, string>();
  const keyOf = ({ source }: Pick<Zip, "source">) => `${source} ${before.get(source)}`;
  /** By path at the destination: which zip of which version failed, and the looks until it is tried again, now and at first. */
  const resting = new Map<string, { readonly key: string; left: number; readonly pause: number }>();
  /** By project of which files were left untried: in which look, and how many it pauses for. */
  const stuck = new Map<string, { readonly look: number; readonly pause: number }>();
  let looks = 0;
  /** What is being sent, by path at the destination. */
  const inHand = new Map<string, Work>();

  /** What is to be sent that is not in hand. */
  const look = async (ending: AbortSignal): Promise<FileToSend[]> => {
    // Not earlier: whatever ended during the last look may have been in hand when the ledger was asked.
    for (const [path, { isDone }] of inHand) if (isDone) inHand.delete(path);
    const zips: Zip[] = [];
    for (const dir of dirs) {
      try {
        zips.push(...await findZips([dir]));
        folders.delete(dir);
      } catch (error) {
        if (!(error instanceof UploadError)) throw error;
        tell({ path: dir, reason: error.message }, folders);
      }
    }
    const busy = new Set(inHand.values().map(({ source }) => source));
    const finished = zips.filter(({ source, version }) => before.get(source) === version && !busy.has(source));
    before = new Map(zips.map(({ source, version }) => [source, version]));
    const current = new Set(zips.map(keyOf));
    for (const [path, { key }] of resting) if (!current.has(key)) resting.delete(path);
    looks += 1;
    const plan = await planZips(ledger, finished, { ...options, signal: ending });
    plan.failed.forEach((failure) => tell(failure));
    return plan.files
      .filter(({ path, projectSlug }) => {
        const { look = -Infinity, pause = 0 } = stuck.get(projectSlug) ?? {};
        if (looks <= look + pause) return false;
        const rest = resting.get(path);
        return !inHand.has(path) && (rest === undefined || --rest.left < 0);
      })
      .map((file) => {
        const work: Work = { source: file.source, key: keyOf(file), projectSlug: file.projectSlug, isDone: false };
        inHand.set(file.path, work);
        return {
          ...file,
          comesAgain: true,
          async record(transfer) {
            await file.record(transfer);
            stuck.delete(file.projectSlug);
            resting.delete(file.path);
            told.delete(file.path);
            work.isDone = true;
          },
        };
      });
  };
  async function* arrivals(ending: AbortSignal): AsyncGenerator<FileToSend[], void> {
    for (;;) {
      await delay(intervalMs, { signal: ending });
      yield await look(ending).catch((error) => {
        ending.throwIfAborted();
        bear(error);
        return [];
      });
    }
  }
  let pause = 1;
  const onFailure = (failure: Unsendable): void => {
    if (!(failure.untried && told.has(failure.path))) tell(failure);
    const work = inHand.get(failure.path);
    if (work === undefined) return;
    work.isDone = true;
    if (failure.untried) {
      const before = stuck.get(work.projectSlug);
      if (before?.look !== looks) {
        stuck.set(work.projectSlug, { look: looks, pause: Math.min(2 * (before?.pause ?? 0.5), MAX_PAUSE) });
      }
      return; // it does not rest longer than its project
    }
    const rest = Math.min(2 * (resting.get(failure.path)?.pause ?? 0.5), MAX_PAUSE);
    resting.set(failure.path, { key: work.key, left: rest, pause: rest });
  };
  const onReceipt = (receipt: Receipt): void => {
    pause = 1;
    outages.clear();
    total.add(receipt);
    options.onReceipt?.(receipt);
  };
  const sending: UploadTaskOptions = {
    ...options,
    onFailure: guarded(onFailure),
    onReceipt: guarded(onReceipt),
    onFile: guarded(options.onFile),
    onProgress: guarded(options.onProgress),
  };
  try {
    for (;;) {
      try {
        const files = await look(signal);
        if (files.length > 0) await sendFiles(ledger, destination, { files, failed: [], arrivals }, sending);
        pause = 1;
      } catch (error) {
        bear(error);
        pause = Math.min(2 * pause, MAX_PAUSE);
      }
      if (thrown !== undefined) throw thrown.error; // in a look that nobody waited for any more
      inHand.clear();
      await delay(pause * intervalMs, { signal });
    }
  } catch (error) {
    if (signal.aborted) return total.result;
    throw error;
  }
}

/** Whether waiting may help. */
function mayPass(error: PixlError): boolean {
  return error instanceof UploadError ? error.retryable : error.kind === "unavailable";
}
