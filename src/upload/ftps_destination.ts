import { abortable, delay } from "@std/async";
import type { PixlError } from "../errors.ts";
import type { Destination, PutOptions, Receipt } from "./destination.ts";
import { UploadError } from "./errors.ts";
import { asUploadError } from "./ftp_errors.ts";
import { FtpsConnection } from "./ftps_connection.ts";
import { checkFtpsOptions, type FtpsOptions } from "./ftps_options.ts";
import { putFile } from "./put_file.ts";
import { type RemotePath, remotePath } from "./remote_path.ts";
import { SourceFile } from "./source_file.ts";
import { trustAuthority } from "./trust.ts";

/**
 * An FTPS server (FTP over TLS, RFC 4217, or its older implicit form). The certificate is always verified, every data connection resumes the TLS
 * session of the control connection as strict servers demand, and there is one connection: open another destination in a worker for more.
 */
export class FtpsDestination implements Destination {
  /** `host:port`. */
  readonly name: string;
  readonly #options: ReturnType<typeof checkFtpsOptions>;
  readonly #closing = new AbortController();
  #connection: FtpsConnection | undefined;
  #turn: Promise<void> = Promise.resolve();

  private constructor(options: ReturnType<typeof checkFtpsOptions>) {
    this.#options = options;
    this.name = `${options.host}:${options.port}`;
  }

  /**
   * Connects and logs in, so that a wrong setting shows at once. A connection that is lost later is made anew by the next `put()`.
   *
   * @param options Where and how.
   * @param abort Stops it.
   * @returns The destination, ready.
   * @throws {UploadError} Saying why and what to do.
   * @throws {RangeError} If an option cannot be used.
   *
   * @example
   * ```ts ignore
   * import { FtpsDestination, type Receipt } from "@pixl/core/upload";
   *
   * async function send(password: string): Promise<Receipt> {
   *   await using dsh = await FtpsDestination.open({ host: "dsh.example", port: 990, mode: "implicit", user: "pixl", password });
   *   return await dsh.put("/data/images/x.zip", "my-project/x.zip");
   * }
   * ```
   */
  static async open(
    options: FtpsOptions,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<FtpsDestination> {
    signal?.throwIfAborted();
    const checked = checkFtpsOptions(options);
    remotePath(checked.basePath, "x"); // says what is wrong with the base folder before anything is sent
    trustAuthority(checked.caPem);
    const destination = new FtpsDestination(checked);
    try {
      await destination.#connected(signal);
    } catch (cause) {
      signal?.throwIfAborted();
      throw asUploadError(cause, `connect to ${destination.name}`);
    }
    return destination;
  }

  /** As {@linkcode Destination.put}. @param source Local path. @param path Below the base folder. @param options Abort, progress, replacement. */
  async put(source: string, path: string, options: PutOptions = {}): Promise<Receipt> {
    const remote = remotePath(this.#options.basePath, path);
    const failing = new AbortController();
    const signal = AbortSignal.any([this.#closing.signal, failing.signal, ...(options.signal ? [options.signal] : [])]);
    const onProgress = (bytes: number) => {
      try {
        options.onProgress?.(bytes);
      } catch (error) {
        failing.abort(error); // the caller's own error ends the call, and is not taken for one of the network
      }
    };
    const before = this.#turn;
    const { promise: done, resolve: finish } = Promise.withResolvers<void>();
    this.#turn = before.then(() => done);
    try {
      await abortable(before, signal);
      return await this.#persistently(source, remote, { ...options, onProgress, signal });
    } finally {
      finish();
    }
  }

  /** Closes the connection; what is on its way fails. */
  async [Symbol.asyncDispose](): Promise<void> {
    const reason = `Cannot upload to ${this.name}: the destination was closed`;
    this.#closing.abort(new UploadError("interrupted", reason, { retryable: false }));
    await this.#turn;
    await this.#disconnect();
  }

  async #persistently(
    source: string,
    remote: RemotePath,
    options: PutOptions & { signal: AbortSignal },
  ): Promise<Receipt> {
    const { attempts, retryDelayMs } = this.#options;
    for (let attempt = 1;; attempt++) {
      try {
        return await this.#once(source, remote, options);
      } catch (cause) {
        options.signal.throwIfAborted();
        const error = asUploadError(cause, `upload '${remote.path}' to ${this.name}`);
        if (attempt >= attempts || !isRetryable(error)) throw error;
        await this.#disconnect();
        await delay(retryDelayMs * 2 ** (attempt - 1), { signal: options.signal });
      }
    }
  }

  async #once(path: string, remote: RemotePath, options: PutOptions & { signal: AbortSignal }): Promise<Receipt> {
    const source = await SourceFile.open(path);
    const connection = await this.#connected(options.signal);
    const abort = () => connection.abort();
    options.signal.addEventListener("abort", abort, { once: true });
    try {
      return await putFile(connection, source, remote, options);
    } finally {
      options.signal.removeEventListener("abort", abort);
      if (connection.closed) await this.#disconnect();
    }
  }

  async #connected(signal: AbortSignal | undefined): Promise<FtpsConnection> {
    if (this.#connection?.closed) await this.#disconnect();
    return this.#connection ??= await FtpsConnection.open(this.#options, signal);
  }

  async #disconnect(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    await connection?.close();
  }
}

function isRetryable(error: PixlError): boolean {
  return error instanceof UploadError && error.retryable;
}
