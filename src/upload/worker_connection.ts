import type { CallOptions, PutOptions, Receipt, RemoteFile } from "./destination.ts";
import { UploadError } from "./errors.ts";
import type { FtpsOptions } from "./ftps_options.ts";
import type { FromWorker, PlainError, Result, ToWorker } from "./worker_protocol.ts";

/** A call without its number. */
type Call = ToWorker extends infer M ? M extends { readonly id: number } ? Omit<M, "id"> : never : never;

interface Pending {
  readonly resolve: (value: Result) => void;
  readonly reject: (error: unknown) => void;
  readonly options: PutOptions;
}

/** A `FtpsDestination` in a worker of its own. */
export class WorkerConnection implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #timeoutMs: number;
  readonly #pending = new Map<number, Pending>();
  #calls = 0;
  #broken: unknown;

  /** @param module What the worker runs. @param timeoutMs Time that it is given to end what was aborted, and to close. */
  constructor(module: URL, timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    this.#worker = new Worker(module, { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#hear(data);
    this.#worker.onerror = (event) => {
      event.preventDefault(); // or it would end the whole process
      this.#fail(new UploadError("interrupted", `Cannot run an upload worker: ${event.message}`, { retryable: false }));
    };
  }

  /** Whether the worker has died or does not answer. */
  get broken(): boolean {
    return this.#broken !== undefined;
  }

  /** Connects. */
  async open(given: FtpsOptions, call: CallOptions): Promise<void> {
    // Only what is known and set: a message takes no functions, and a default is not replaced by undefined.
    const { host, port, user, password, mode } = given;
    const options = { host, port, user, password, mode, ...setOf(given) };
    await this.#call({ call: "open", options, pace: given.pace?.memory }, call);
  }

  /** As `Destination.put`. */
  async put(source: string, path: string, options: PutOptions): Promise<Receipt> {
    const { signal: _, onProgress: __, onPart: ___, ...plain } = options;
    return await this.#call({ call: "put", source, path, options: plain }, options) as Receipt;
  }

  /** As `Destination.stat`. */
  async stat(path: string, options: CallOptions): Promise<RemoteFile | undefined> {
    return await this.#call({ call: "stat", path }, options) as RemoteFile | undefined;
  }

  /** As `Destination.list`. */
  async list(path: string, options: CallOptions): Promise<readonly RemoteFile[]> {
    return await this.#call({ call: "list", path }, options) as readonly RemoteFile[];
  }

  /** As `Destination.rename`. */
  async rename(path: string, to: string, options: CallOptions): Promise<void> {
    await this.#call({ call: "rename", path, to }, options);
  }

  /** As `Destination.remove`. */
  async remove(path: string, options: CallOptions): Promise<void> {
    await this.#call({ call: "remove", path }, options);
  }

  /** Ends what is on its way, then the worker. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.broken) {
      const timer = this.#patience();
      await this.#call({ call: "close" }, {}).catch(() => {}); // it never was open
      clearTimeout(timer);
    }
    this.#worker.terminate();
    this.#fail(new UploadError("interrupted", "Cannot go on: the worker was closed", { retryable: false }));
  }

  async #call(call: Call, options: PutOptions): Promise<Result> {
    options.signal?.throwIfAborted();
    if (this.#broken !== undefined) throw this.#broken;
    const id = ++this.#calls;
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    this.#pending.set(id, { resolve, reject, options });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const abort = () => {
      this.#worker.postMessage({ abort: id });
      timer = this.#patience();
    };
    options.signal?.addEventListener("abort", abort, { once: true });
    try {
      this.#worker.postMessage({ ...call, id });
      return await promise;
    } catch (error) {
      options.signal?.throwIfAborted();
      throw error;
    } finally {
      options.signal?.removeEventListener("abort", abort);
      clearTimeout(timer);
      this.#pending.delete(id);
    }
  }

  /** Ends a worker that has not answered by then, and with it all calls. */
  #patience(): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      this.#worker.terminate();
      this.#fail(new UploadError("timeout", "Cannot go on: an upload worker does not answer: try again"));
    }, this.#timeoutMs);
  }

  #hear(message: FromWorker): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    if ("value" in message) return pending.resolve(message.value);
    if ("error" in message) return pending.reject(revived(message.error));
    try {
      if ("progress" in message) pending.options.onProgress?.(message.progress);
      else pending.options.onPart?.(message.part);
    } catch (error) {
      // The caller's own error ends the call; what the worker says of it later is not wanted any more.
      this.#worker.postMessage({ abort: message.id });
      pending.reject(error);
    }
  }

  #fail(error: UploadError): void {
    this.#broken = error;
    for (const { reject } of this.#pending.values()) reject(error);
  }
}

/** The error with its class. */
function revived({ name, message, code, retryable, cause }: PlainError): Error {
  const options = cause === undefined ? {} : { cause: Object.assign(new Error(cause.message), cause) };
  if (code !== undefined) {
    return new UploadError(code, message, { ...options, ...(retryable === undefined ? {} : { retryable }) });
  }
  return name === "RangeError"
    ? new RangeError(message, options)
    : Object.assign(new Error(message, options), { name });
}

/** Options that need not be given. */
const OPTIONAL = ["caPem", "servername", "basePath", "timeoutMs", "attempts", "retryDelayMs"] as const;

/** Those that are. */
function setOf(options: FtpsOptions): Pick<FtpsOptions, typeof OPTIONAL[number]> {
  return Object.fromEntries(OPTIONAL.flatMap((name) => options[name] === undefined ? [] : [[name, options[name]]]));
}
