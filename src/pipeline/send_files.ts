import { delay } from "@std/async";
import { getLogger } from "@logtape/logtape";
import { LeaseLostError, type Ledger } from "../database/mod.ts";
import { type Destination, type Receipt, UploadError, type UploadErrorCode } from "../upload/mod.ts";
import { Attempts } from "./attempts.ts";
import { type FileToSend, type Turn, Turns, type UploadPlan } from "./file_to_send.ts";
import { sendFile, trySendFile } from "./send_file.ts";
import { UploadMeter, type UploadProgress } from "./upload_meter.ts";
import { type UploadResult, UploadTally } from "./upload_result.ts";

const log = getLogger(["pixl", "upload"]);

/** More files on one connection that lose it, or of one project that find no space, with none between them that is sent, are not these files' fault. */
const MOST_UNLUCKY_IN_A_ROW = 5;

/** What an attempt is for. */
interface Role {
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
  /** Called as bytes go out. */
  readonly onProgress?: (progress: UploadProgress) => void;
}

/**
 * Sends files that are ready, the projects in turn, and records each as soon as it is there. Those that another uploader has in hand come last, and after them those
 * that lost the connection while the destination is there.
 *
 * @param ledger Records what left.
 * @param destination Where to.
 * @param plan What to send; what cannot be is passed on to the result.
 * @param options Signal, concurrency and progress.
 * @returns Counts, with a reason for every file that could not be sent.
 * @throws {UploadError} If the destination is out of reach or refuses us, or several files lost the connection and nothing else can be told: then no other
 * file would do better. Those in hand are cut off. Also if no file is there since there was space for none.
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
  /** Those that lost the connection though the destination is there, perhaps by what they hold, as some gateways have it: tried again last. */
  const unlucky: FileToSend[] = [];
  let unluckyInARow = 0;
  /** What ended those that lost it in the end too, or for which there was no space. */
  const lost: UploadError[] = [];
  /** By project: how many files found no space since the last that was sent, and the bytes of the smallest of these. */
  const withoutSpace = new Map<string, { count: number; least: number }>();
  const attempts = new Attempts();
  let toldOfNoRoom = false;
  const connections = options.concurrency ?? 1;
  // One outage hits a file on each connection.
  const mostUnlucky = MOST_UNLUCKY_IN_A_ROW + connections - 1;

  /** @returns Whether the destination took the connection. */
  const send = async (file: FileToSend, how: typeof trySendFile, { isLast, isProbe }: Role = {}): Promise<boolean> => {
    const measured = meter.file(file);
    const attempt = attempts.begin();
    let receipt: Receipt | undefined;
    try {
      const { count = 0, least = 0 } = withoutSpace.get(file.projectSlug) ?? {};
      if (count > mostUnlucky && file.bytes >= least) throw noSpaceForSmaller(file.path);
      receipt = await how(ledger, destination, file, {
        signal,
        replace: file.replace === true,
        onProgress(bytes) {
          attempt.moves();
          measured.at(bytes);
        },
        ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }),
      });
      attempt.ends(receipt !== undefined);
      if (receipt === undefined) {
        later.push(file);
        return true;
      }
      if (!receipt.skipped) {
        unluckyInARow = 0;
        withoutSpace.delete(file.projectSlug);
      }
    } catch (error) {
      attempt.ends(false);
      signal.throwIfAborted();
      if (isOf(OF_A_CONNECTION, error) || isHangUp(error) || isOf(["unreachable"], error) && error.retryable) {
        const again = isLast ? unlucky : later;
        if (error.cause instanceof LeaseLostError) {
          again.push(file);
          return true;
        }
        // If nobody answers it is not the file; nor if no file gets through, as where a firewall lets no data connections through.
        const answer = await answerTo(error, attempt.moved, () => look(destination, file.path, signal));
        const isFull = answer === "no room" || answer === "hangs up";
        const isReached = answer === "none" && connections > 1 && attempts.areServed;
        if ((isFull || isReached) && attempts.vouchFor(attempt)) {
          if (!toldOfNoRoom) {
            log.warn("The destination does not take one more connection: {path} waits", { path: file.path });
          }
          toldOfNoRoom = true;
          again.push(file);
          return false;
        }
        if (answer === "none" || answer === "refused" || answer === "hangs up" && !attempts.areServed) throw error;
        // Alone, it cannot be one too many. Beside another, which may be served, it is told of.
        const isShut = isFull && attempts.areNone;
        if (isShut && isLast) throw error;
        if (!isLast) {
          if (++unluckyInARow > mostUnlucky) {
            if (isProbe) throw error;
            unlucky.push(file);
            // Files that are always cut gather where a plan begins, since the others leave it: one from its end shows whether it is they.
            while (unluckyInARow > mostUnlucky) {
              const turn = turns.last(file.projectSlug) ?? turns.next();
              if (turn === undefined) {
                if (isShut) throw error;
                break;
              }
              await take(turn, how, { isProbe: true });
            }
            return true;
          }
          log.warn("{path} lost the connection and comes again last: {reason}", {
            path: file.path,
            reason: error.message,
          });
          unlucky.push(file);
          return true;
        }
        lost.push(error);
      } else if (isOf(["no-space"], error)) {
        // A quota, or a file that is too large: after some in a row only smaller ones of the project are tried.
        const { count = 0, least = Infinity } = withoutSpace.get(file.projectSlug) ?? {};
        withoutSpace.set(file.projectSlug, { count: count + 1, least: Math.min(least, file.bytes) });
        lost.push(error);
      } else if (!isOf(OF_ONE_FILE, error)) throw error;
      tally.fail(file.path, error);
    }
    if (receipt !== undefined) {
      tally.add(receipt);
      options.onReceipt?.(receipt);
    }
    measured.done();
    options.onFile?.();
    return true;
  };
  /** Sends a file, and pauses where there is no room: meanwhile the file is in nobody's hand, and the project's turn is over. */
  const take = async ({ file, finished }: Turn, how: typeof trySendFile, role?: Role): Promise<void> => {
    const hasRoom = await send(file, how, role);
    finished();
    if (!hasRoom) await delay(options.noRoomMs ?? 5_000, { signal });
  };
  const sendOthers = async (): Promise<void> => {
    for (;;) {
      signal.throwIfAborted();
      const turn = turns.next();
      const waited = turn === undefined ? later.shift() : undefined;
      if (turn !== undefined) await take(turn, trySendFile);
      else if (waited !== undefined) await take({ file: waited, finished() {} }, sendFile);
      else return;
    }
  };
  const sendUnlucky = async (): Promise<void> => {
    for (;;) {
      const file = unlucky.shift();
      const turn = file === undefined ? turns.next() : { file, finished() {} }; // what has become ready by these
      if (turn === undefined) return;
      await take(turn, sendFile, { isLast: true });
    }
  };
  const onAllConnections = async (work: () => Promise<void>): Promise<void> => {
    const ends = await Promise.allSettled(
      Array.from({ length: connections }, () =>
        work().catch((error) => {
          failing.abort(error);
          throw error;
        })),
    );
    if (ends.some(({ status }) => status === "rejected")) throw signal.reason;
  };
  await onAllConnections(sendOthers);
  await onAllConnections(sendUnlucky);
  const { result } = tally;
  const [first, second] = lost;
  const isNobodys = second !== undefined || isOf(["no-space"], first);
  if (isNobodys && result.verified === 0 && result.failed.length === lost.length) throw first;
  return result;
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

function noSpaceForSmaller(path: string): UploadError {
  return new UploadError(
    "no-space",
    `Cannot upload '${path}': it was not tried, since there was no space for others of its project that are no larger; make room at the destination`,
  );
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
