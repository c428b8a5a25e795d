/** Turns SIGINT and SIGTERM into one signal, until the end of the scope. A second SIGINT ends the process as it would without us. */
export interface Interruption extends Disposable {
  readonly signal: AbortSignal;
  /** Nobody reads what is written any more: what other programs are sent SIGPIPE for. */
  noReader(): void;
}

/** Why the signal was aborted. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";

  constructor(readonly by: Deno.Signal) {
    super(`Interrupted by ${by}`);
  }
}

/** Starts to listen. */
export function interruption(): Interruption {
  const abort = new AbortController();
  const signals = ["SIGINT", "SIGTERM"] as const;
  const listeners = signals.map((name) => {
    const listener = () => {
      abort.abort(new Interrupted(name));
      Deno.removeSignalListener(name, listener);
    };
    Deno.addSignalListener(name, listener);
    return [name, listener] as const;
  });
  return {
    signal: abort.signal,
    noReader: () => abort.abort(new Interrupted("SIGPIPE")),
    [Symbol.dispose]() {
      for (const [name, listener] of listeners) Deno.removeSignalListener(name, listener);
    },
  };
}

/** Runs what goes on until it is stopped. SIGTERM is how services are stopped, so that is no error; Ctrl-C is an interruption as everywhere. */
export async function asService(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  try {
    await work();
    if (signal.aborted) throw signal.reason;
  } catch (error) {
    if (!(error instanceof Interrupted && error.by === "SIGTERM")) throw error;
  }
}
