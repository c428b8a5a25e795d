import { abortable } from "./abortable.ts";

/** Options of {@linkcode deadline}. */
export interface DeadlineOptions {
  /** Ends the wait: the promise rejects with its reason. */
  signal?: AbortSignal;
}

/**
 * The promise, or a rejection with a `TimeoutError` after so many milliseconds (below 2³¹; `Infinity` never). Does not stop the work behind the
 * promise.
 */
export async function deadline<T>(promise: Promise<T>, ms: number, options: DeadlineOptions = {}): Promise<T> {
  const timeout = ms < Number.MAX_SAFE_INTEGER ? [AbortSignal.timeout(ms)] : [];
  const signals = options.signal === undefined ? timeout : [...timeout, options.signal];
  return await abortable(promise, AbortSignal.any(signals));
}
