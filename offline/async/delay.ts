/** Options of {@linkcode delay}. */
export interface DelayOptions {
  /** Ends the wait: the promise rejects with its reason. */
  signal?: AbortSignal;
  /** Whether the wait keeps the process alive. @default {true} */
  persistent?: boolean;
}

type Timer = ReturnType<typeof setTimeout>;

/** The longest wait of one timer, in milliseconds: a longer one would end at once. */
const LONGEST_MS = 2 ** 31 - 1;

/** Resolves after so many milliseconds; at once if they are negative, never if they are `Infinity`. */
export function delay(ms: number, options: DelayOptions = {}): Promise<void> {
  const { signal, persistent = true } = options;
  if (signal?.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    let timer: Timer | undefined;
    const wait = (leftMs: number) => {
      const next = leftMs > LONGEST_MS ? () => wait(leftMs - LONGEST_MS) : done;
      timer = setTimeout(next, Math.min(leftMs, LONGEST_MS));
      if (!persistent) unref(timer);
    };
    const done = () => {
      signal?.removeEventListener("abort", abort);
      resolve();
    };
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    wait(ms > 0 ? ms : 0);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

function unref(timer: Timer): void {
  try {
    Deno.unrefTimer(timer);
  } catch (error) {
    // Where there is no Deno, every timer is persistent.
    if (error instanceof ReferenceError) return;
    clearTimeout(timer);
    throw error;
  }
}
