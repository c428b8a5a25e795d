import { abortable } from "./abortable.ts";

/** Options of {@linkcode deadline}. */
export interface DeadlineOptions {
  /** Ends the wait: the promise rejects with its reason. */
  signal?: AbortSignal;
}

/** The promise, or a rejection with a `TimeoutError` after so many milliseconds. Does not stop the work behind the promise. */
export async function deadline<T>(promise: Promise<T>, ms: number, options: DeadlineOptions = {}): Promise<T> {
  const timeout = new AbortController();
  const signal = AbortSignal.any([timeout.signal, ...(options.signal ? [options.signal] : [])]);
  const timer = setTimeout(() => timeout.abort(new DOMException("Signal timed out.", "TimeoutError")), ms);
  try {
    return await abortable(promise, signal);
  } finally {
    clearTimeout(timer);
  }
}
