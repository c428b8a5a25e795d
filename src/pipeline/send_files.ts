import { abortable, delay } from "@std/async";
import { getLogger } from "@logtape/logtape";
import { LeaseLostError, type Ledger } from "../database/mod.ts";
import { type Destination, type Receipt, UploadError, type UploadErrorCode } from "../upload/mod.ts";
import { type Attempt, Attempts } from "./attempts.ts";
import { type FileToSend, type Turn, Turns, type Unsendable, type UploadPlan } from "./file_to_send.ts";
import { CLAIM_AGAIN_MS, trySendFile } from "./send_file.ts";
import { Setbacks } from "./setbacks.ts";
import { UploadMeter, type UploadProgress } from "./upload_meter.ts";
import { type UploadResult, UploadTally } from "./upload_result.ts";

const log = getLogger(["pixl", "upload"]);

/** What an attempt is for. */
interface Role {
  /** It is not the first one. */
  readonly isAgain?: boolean;
  /** There is no other after it. */
  readonly isLast?: boolean;
  /** It shows whether others are always cut. */
  readonly isProbe?: boolean;
}

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
  /** Pause of a connection for which the destination has no room while it serves others, in milliseconds. @default {5_000} */
  readonly noRoomMs?: number;
  /** Called after each file. */
  readonly onFile?: () => void;
  /** Called for each file that is there, also where the task then fails. */
  readonly onReceipt?: (receipt: Receipt) => void;
  /** Called for each file that could not be sent, also where the task then fails. */
  readonly onFailure?: (failure: Unsendable) => void;
  /** Called as bytes go out. */
  readonly onProgress?: (progress: UploadProgress) => void;
}

/**
 * Sends files that are ready, the projects in turn, and records each as soon as it is there. Those that another uploader has in hand, or that lost the
 * connection while the destination is there, come again after the others. A project whose files are always cut, from its start
 * and from its end, is given up, and one without space is tried with smaller files only: the others' files go on.
 *
 * @param ledger Records what left.
 * @param destination Where to.
 * @param plan What to send; what cannot be is passed on to the result.
 * @param options Signal, concurrency and progress.
 * @returns Counts, with a reason for every file that could not be sent.
 * @throws {UploadError} If the destination is out of reach or refuses us: then no other file would do better. Those in hand are cut off. Also if no file
 * is there since all of them lost the connection, or found no space.
 * @throws {RangeError} If an option cannot be used.
 */
export async function sendFiles(
  ledger: Ledger,
  destination: Destination,
  plan: UploadPlan,
  options: UploadTaskOptions = {},
): Promise<UploadResult> {
  const { concurrency: connections = 1, noRoomMs = 5_000 } = options;
  check("concurrency", connections);
  check("noRoomMs", noRoomMs);
  const tally = new UploadTally(plan.failed);
  plan.failed.forEach((failure) => options.onFailure?.(failure));
  const meter = new UploadMeter(plan.files, options.onProgress);
  const turns = new Turns(plan.files);
  const failing = new AbortController();
  const signal = AbortSignal.any([failing.signal, ...(options.signal ? [options.signal] : [])]);

  /** Those that another uploader has in hand, and those that lost the connection though the destination is there, perhaps by what they hold, as some gateways have it. */
  const later: { readonly file: FileToSend; readonly isLast: boolean }[] = [];
  /** What ended those that lost it in the end too, or for which there was no space. */
  const lost: UploadError[] = [];
  const setbacks = new Setbacks(connections);
  const attempts = new Attempts();
  let toldOfNoRoom = false;

  /** @returns How long the connection is to pause, in milliseconds. */
  const send = async (file: FileToSend, role: Role): Promise<number> => {
    const measured = meter.file(file);
    const attempt = attempts.begin();
    let outcome: Receipt | UploadError;
    let [untried, isLost] = [false, false];
    try {
      const reason = await whyNotTried(file);
      untried = reason !== undefined;
      const receipt = reason ?? await trySendFile(ledger, destination, file, {
        signal,
        replace: file.replace === true,
        onProgress(bytes) {
          attempt.moves();
          try {
            measured.at(bytes);
          } catch (error) {
            failing.abort(error); // the caller's own, though it be an UploadError
          }
        },
        ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }),
      });
      attempt.ends(receipt !== undefined && !untried);
      if (receipt === undefined && !file.comesAgain) {
        later.push({ file, isLast: role.isLast === true });
        return role.isAgain ? CLAIM_AGAIN_MS : 0;
      }
      outcome = receipt ??
        new UploadError("interrupted", `Cannot upload '${file.path}': another uploader is sending it`);
      isLost = untried;
      if (!(outcome instanceof UploadError) && !outcome.skipped) setbacks.sent(file);
    } catch (error) {
      attempt.ends(false);
      signal.throwIfAborted();
      if (isOf(OF_A_CONNECTION, error) || isHangUp(error) || isOf(["unreachable"], error) && error.retryable) {
        const pauseMs = await putOff(file, error, attempt, role);
        if (pauseMs !== undefined) return pauseMs;
        isLost = true;
      } else if (isOf(["no-space"], error)) {
        setbacks.foundNoSpace(file);
        isLost = true;
      } else if (!isOf(OF_ONE_FILE, error)) throw error;
      outcome = error;
    }
    if (outcome instanceof UploadError) {
      const failure = { path: file.path, reason: outcome.message, ...(untried ? { untried } : {}) };
      if (plan.arrivals === undefined) {
        tally.fail(failure);
        if (isLost) lost.push(outcome);
      }
      options.onFailure?.(failure);
    } else {
      tally.add(outcome);
      options.onReceipt?.(outcome);
    }
    measured.done();
    options.onFile?.();
    return 0;
  };

  const whyNotTried = async (file: FileToSend): Promise<UploadError | undefined> => {
    if (setbacks.isGivenUp(file.projectSlug)) {
      const reason = "was not tried, or not again, since others of its project lost the connection one after another";
      return new UploadError("interrupted", `Cannot upload '${file.path}': it ${reason}; see what became of these`);
    }
    if (!setbacks.isTooLarge(file)) return undefined;
    if (!file.comesAgain && (await destination.stat(file.path, { signal }))?.bytes === file.bytes) return undefined; // may need no space
    const reason = "was not tried, since there was no space for others of its project that are no larger";
    return new UploadError("no-space", `Cannot upload '${file.path}': it ${reason}; make room at the destination`);
  };

  /**
   * Finds out what it means that a file lost the connection.
   *
   * @returns How long the connection is to pause, if the file comes again; `undefined` if it does not.
   * @throws The error if no other file would do better.
   */
  const putOff = async (
    file: FileToSend,
    error: UploadError,
    attempt: Attempt,
    { isLast = false, isProbe = false }: Role,
  ): Promise<number | undefined> => {
    const { path, projectSlug } = file;
    if (error.cause instanceof LeaseLostError) {
      if (file.comesAgain) return undefined;
      later.push({ file, isLast });
      return 0;
    }
    // If nobody answers it is not the file; nor if no file gets through, as where a firewall lets no data connections through.
    const answer = await answerTo(error, attempt.moved, () => look(destination, path, signal));
    const isFull = answer === "no room" || answer === "hangs up";
    if ((isFull || answer === "none" && connections > 1) && attempts.vouchFor(attempt)) {
      if (!toldOfNoRoom) {
        log.warn("{path} waits: the destination {does} one more connection", {
          path,
          does: isFull ? "does not take" : "does not answer",
        });
      }
      toldOfNoRoom = true;
      if (isLast) later.unshift({ file, isLast });
      else turns.putBack(file);
      return noRoomMs;
    }
    if (answer === "none" || answer === "refused" || answer === "hangs up" && !attempts.areServed) throw error;
    // Alone, it cannot be one too many. Beside another, which may be served, it is told of.
    const isShut = isFull && attempts.areNone;
    if (isShut && isLast) throw error;
    if (isLast) return undefined;
    setbacks.cut(file);
    const isRow = setbacks.areInARow(projectSlug);
    if (isShut && isRow) throw error;
    if (isRow && isProbe) setbacks.giveUp(projectSlug);
    if (file.comesAgain || setbacks.isGivenUp(projectSlug)) return undefined;
    later.push({ file, isLast: true });
    log.warn("{path} lost the connection and comes again later: {reason}", { path, reason: error.message });
    return 0;
  };

  /** Sends a file, and pauses where there is no room: meanwhile the file is in nobody's hand, and the project's turn is over. */
  const take = async ({ file, finished }: Turn, role: Role): Promise<void> => {
    const pauseMs = await send(file, role);
    finished();
    changed();
    if (pauseMs > 0) await delay(pauseMs, { signal });
    const { projectSlug } = file;
    if (role.isProbe || !setbacks.areInARow(projectSlug) || setbacks.isGivenUp(projectSlug)) return;
    // Files that are always cut gather where a plan begins, since the others leave it: one from its end shows whether it is they.
    const last = turns.last(projectSlug);
    if (last !== undefined) await take(last, { isProbe: true });
  };
  const takeNext = (): Promise<void> | undefined => {
    const turn = turns.next();
    if (turn !== undefined) return take(turn, {});
    const next = later.shift();
    return next && take({ file: next.file, finished() {} }, { isLast: next.isLast, isAgain: true });
  };
  let inHand = 0;
  let change = Promise.withResolvers<void>();
  const changed = (): void => {
    change.resolve();
    change = Promise.withResolvers();
  };
  const sendAll = async (): Promise<void> => {
    for (;;) {
      signal.throwIfAborted();
      const taken = takeNext();
      if (taken !== undefined) {
        inHand += 1;
        await taken;
        inHand -= 1;
        changed();
      } else if (inHand > 0) await abortable(change.promise, signal); // more may come of it
      else return;
    }
  };
  const ended = new AbortController();
  const takeArrivals = async (): Promise<void> => {
    for await (const files of plan.arrivals?.(AbortSignal.any([signal, ended.signal])) ?? []) {
      if (ended.signal.aborted) return;
      meter.add(files);
      turns.add(files);
      for (const { projectSlug } of files) setbacks.newFiles(projectSlug);
      changed();
    }
  };
  const fails = (error: unknown): void => failing.abort(error);
  const arriving = takeArrivals().catch((error) => ended.signal.aborted || fails(error));
  await Promise.all(Array.from({ length: connections }, () => sendAll().catch(fails)));
  ended.abort();
  await arriving;
  if (failing.signal.aborted) throw signal.reason;
  const { result } = tally;
  const [first, second] = lost;
  const isNobodys = second !== undefined || isOf(["no-space"], first);
  if (isNobodys && result.verified === 0 && result.failed.length === lost.length) throw first;
  return result;
}

function check(name: "concurrency" | "noRoomMs", value: number): void {
  if (Number.isInteger(value) && value >= 1) return;
  throw new RangeError(`Cannot upload as '${name}' must be a whole number from 1 on: current value is ${value}`);
}

/**
 * What the destination says of us: it may serve us, have room for no more connections, hang up, which may mean the same or that there is nobody behind it, be
 * out of reach, or refuse us whatever we send.
 */
type Answer = "there" | "no room" | "hangs up" | "none" | "refused";

/** What a failure says of the destination. @param moved Whether bytes of the file went out. @param look Asks it, where that is not plain. */
async function answerTo(error: UploadError, moved: boolean, look: () => Promise<Answer>): Promise<Answer> {
  if (isNoRoom(error) && !moved) return "no room";
  return error.code === "unreachable" ? "none" : await look();
}

async function look(destination: Destination, path: string, signal: AbortSignal): Promise<Answer> {
  try {
    await destination.stat(path, { signal });
    return "there";
  } catch (error) {
    signal.throwIfAborted();
    if (isNoRoom(error)) return "no room";
    // A passing refusal, or one of this file; a lasting one, as of the login, is of us.
    if (replyOf(error) !== undefined) return isPassing(error) || isOf(OF_ONE_FILE, error) ? "there" : "refused";
    if (isHangUp(error)) return "hangs up";
    return isPassing(error) ? "none" : "refused";
  }
}

/** The number of an FTP server's answer. */
function replyOf(error: unknown): number | undefined {
  const { cause } = error instanceof UploadError ? error : {};
  return cause instanceof Error && "code" in cause && typeof cause.code === "number" ? cause.code : undefined;
}

function isPassing(error: unknown): boolean {
  return error instanceof UploadError && error.retryable;
}

/** Whether an FTP server says that it takes no more connections (RFC 959, 421; proftpd has 530 and, before it is shut down, 500, which else are lasting). */
function isNoRoom(error: unknown): boolean {
  const reply = replyOf(error);
  return reply === 421 || (reply === 530 || reply === 500) && isPassing(error);
}

/** Whether a connection was ended that had come about; `protocol` that may pass is a text in the clear where TLS was to begin, as vsftpd's 421. */
function isHangUp(error: unknown): error is UploadError {
  return error instanceof UploadError && error.retryable && (error.code === "interrupted" || error.code === "protocol");
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

/** Codes of errors that may be one file's fault, or the destination's. */
const OF_A_CONNECTION: readonly UploadErrorCode[] = ["interrupted", "session-reuse", "timeout"];

function isOf(codes: readonly UploadErrorCode[], error: unknown): error is UploadError {
  return error instanceof UploadError && codes.includes(error.code);
}
