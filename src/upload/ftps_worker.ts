import { UploadError } from "./errors.ts";
import { FtpsDestination } from "./ftps_destination.ts";
import type { FtpsOptions } from "./ftps_options.ts";
import { Pace } from "./pace.ts";
import type { FromWorker, PlainError, Result, ToWorker } from "./worker_protocol.ts";

/** This side of the channel to whoever started the worker. */
export interface WorkerScope {
  /** Called with every message. */
  onmessage: ((event: { readonly data: ToWorker }) => void) | null;
  /** Sends one. */
  postMessage(message: FromWorker): void;
}

/**
 * Serves one FTPS connection to whoever started this worker, since Deno keeps the TLS sessions of an isolate in one store: with two connections in it, a
 * data connection may offer the other's session, which strict servers refuse.
 */
export function serveFtps(scope: WorkerScope): void {
  // The client notes a stack trace for every command: measured, a fifth of the processor time for small files. No trace leaves this worker anyway.
  Error.stackTraceLimit = 0;
  let destination: FtpsDestination | undefined;
  const calls = new Map<number, AbortController>();
  scope.onmessage = ({ data: message }) => {
    if ("abort" in message) return calls.get(message.abort)?.abort(new DOMException("Aborted", "AbortError"));
    const abort = new AbortController();
    calls.set(message.id, abort);
    void carryOut(message, abort.signal).then(
      (value) => scope.postMessage({ id: message.id, value }),
      (error) => scope.postMessage({ id: message.id, error: plain(error) }),
    ).finally(() => calls.delete(message.id));
  };

  async function carryOut(message: Exclude<ToWorker, { abort: number }>, signal: AbortSignal): Promise<Result> {
    if (message.call === "open") {
      destination = await FtpsDestination.open(withPace(message.options, message.pace), { signal });
      return undefined;
    }
    if (destination === undefined) throw new TypeError("'open' comes first");
    switch (message.call) {
      case "put":
        return await destination.put(message.source, message.path, {
          ...message.options,
          signal,
          onProgress: (progress) => scope.postMessage({ id: message.id, progress }),
          onPart: (part) => scope.postMessage({ id: message.id, part }),
        });
      case "stat":
        return await destination.stat(message.path, { signal });
      case "list":
        return await destination.list(message.path, { signal });
      case "rename":
        return await destination.rename(message.path, message.to, { signal });
      case "remove":
        return await destination.remove(message.path, { signal });
      case "close":
        return await destination[Symbol.asyncDispose]();
    }
  }
}

function withPace(options: FtpsOptions, pace: SharedArrayBuffer | undefined): FtpsOptions {
  return pace === undefined ? options : { ...options, pace: Pace.of(pace) };
}

/** The error as a message can hold it. */
function plain(error: unknown): PlainError {
  if (!(error instanceof Error)) return { name: typeof error, message: "" };
  const { name, message, cause } = error;
  const upload = error instanceof UploadError ? { code: error.code, retryable: error.retryable } : {};
  return { name, message, ...upload, ...(cause instanceof Error ? { cause: causeOf(cause) } : {}) };
}

function causeOf(error: Error): { name: string; message: string; code?: string | number } {
  const code = "code" in error && (typeof error.code === "string" || typeof error.code === "number");
  return { name: error.name, message: error.message, ...(code ? { code: error.code as string | number } : {}) };
}
