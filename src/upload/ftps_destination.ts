import { abortable, delay } from "@std/async";
import { FTPError } from "basic-ftp";
import type { PixlError } from "../errors.ts";
import type { CallOptions, Destination, PutOptions, Receipt, RemoteFile } from "./destination.ts";
import { UploadError } from "./errors.ts";
import { asUploadError } from "./ftp_errors.ts";
import { FtpsConnection } from "./ftps_connection.ts";
import { checkFtpsOptions, type FtpsOptions, nameOf } from "./ftps_options.ts";
import { putFile } from "./put_file.ts";
import { type RemotePath, remotePath } from "./remote_path.ts";
import { SourceFile } from "./source_file.ts";
import { trustAuthority } from "./trust.ts";

/** Longest pause between attempts, in milliseconds. */
const MAX_RETRY_DELAY_MS = 60_000;

/**
 * An FTPS server (FTP over TLS, RFC 4217, or its older implicit form). The certificate is always verified, every data connection resumes the TLS
 * session of the control connection as strict servers demand, and there is one connection: {@linkcode FtpsPool} has several.
 */
export class FtpsDestination implements Destination {
  /** `host:port`, and the base folder if that is not `/`. */
  readonly name: string;
  readonly #options: ReturnType<typeof checkFtpsOptions>;
  readonly #closing = new AbortController();
  #connection: FtpsConnection | undefined;
  /** Whether commands are sent together: not to a server that was lost so, since there are some that do not read them (RFC 959 section 5.4 lets them). */
  #pipelining = true;
  #turn: Promise<void> = Promise.resolve();

  private constructor(options: ReturnType<typeof checkFtpsOptions>) {
    this.#options = options;
    this.name = nameOf(options);
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
      const error = asUploadError(cause, `connect to ${destination.name}`);
      if (!(error instanceof UploadError && error.code === "timeout" && checked.mode === "explicit")) throw error;
      const reason =
        `Cannot connect to ${destination.name} (timeout): check the port, that the server is not busy, and the ` +
        "mode: one that expects TLS from the first byte says nothing in the clear ('implicit')";
      throw new UploadError("timeout", reason, { cause });
    }
    return destination;
  }

  /** As {@linkcode Destination.put}. Calls wait for one another. @param source Local path. @param path Below the base folder. @param options Abort, progress, replacement. */
  async put(source: string, path: string, options: PutOptions = {}): Promise<Receipt> {
    const remote = remotePath(this.#options.basePath, path, options.partName);
    const failing = new AbortController();
    const guarded = <A>(call?: (argument: A) => void) => (argument: A): void => {
      try {
        call?.(argument);
      } catch (error) {
        failing.abort(error); // the caller's own error ends the call, and is not taken for one of the network
      }
    };
    let [part, moved, mayBeLeft] = [options.part, false, options.part !== undefined];
    const told: PutOptions = {
      ...options,
      onProgress: guarded((bytes) => {
        moved = true;
        options.onProgress?.(bytes);
      }),
      onPart: guarded((record) => {
        part = record;
        options.onPart?.(record);
      }),
    };
    return await this.#inTurn(`upload '${remote.path}' to`, [options.signal, failing.signal], async (signal) => {
      try {
        return await this.#once(source, remote, {
          ...told,
          ...(part === undefined ? {} : { part }),
          mayBeLeft,
          signal,
        });
      } catch (error) {
        mayBeLeft = true;
        // A server that would not take the file up from the middle may from its start.
        if (error instanceof FTPError && !moved) part = undefined;
        // It may be the same next time where the server does not let it be removed.
        if (error instanceof UploadError && error.code === "verification-failed") part = undefined;
        moved = false;
        throw error;
      }
    });
  }

  /** As {@linkcode Destination.stat}. */
  async stat(path: string, options: CallOptions = {}): Promise<RemoteFile | undefined> {
    const remote = remotePath(this.#options.basePath, path);
    const bytes = await this.#call(`look at '${remote.path}' at`, options, (connection) => {
      return connection.size(remote.path);
    });
    return bytes === undefined ? undefined : { path, bytes };
  }

  /** As {@linkcode Destination.list}. */
  async list(folder: string, options: CallOptions = {}): Promise<readonly RemoteFile[]> {
    const remote = remotePath(this.#options.basePath, folder);
    const files = await this.#call(
      `list '${remote.path}' at`,
      options,
      (connection) => connection.list(this.#options.basePath, folder.split("/")),
    );
    return [...files].map(([name, bytes]) => ({ path: `${folder}/${name}`, bytes }));
  }

  /** As {@linkcode Destination.rename}. FTP itself would replace what has the new name, so that is looked up first. */
  async rename(from: string, to: string, options: CallOptions = {}): Promise<void> {
    const [source, target] = [remotePath(this.#options.basePath, from), remotePath(this.#options.basePath, to)];
    const doing = `rename '${source.path}' to '${target.path}' at`;
    let asked: number | undefined; // size of the file that an attempt, whose answer may be lost, was about to rename
    await this.#call(doing, options, async (connection) => {
      const [bytes, taken] = [await connection.size(source.path), await connection.size(target.path)];
      if (bytes === undefined && taken !== undefined && taken === asked) return;
      if (bytes === undefined) throw new UploadError("not-found", `Cannot ${doing} ${this.name}: it is not there`);
      if (taken !== undefined) {
        throw new UploadError("exists-different", `Cannot ${doing} ${this.name}: the new name is taken`);
      }
      await connection.enter(target.folder);
      asked = bytes;
      await connection.rename(source.path, target.path);
    });
  }

  /** As {@linkcode Destination.remove}. */
  async remove(path: string, options: CallOptions = {}): Promise<void> {
    const remote = remotePath(this.#options.basePath, path);
    const doing = `remove '${remote.path}' at`;
    await this.#call(doing, options, async (connection) => {
      await connection.remove(remote.path);
      if (await connection.size(remote.path) === undefined) return;
      throw new UploadError("permission-denied", `Cannot ${doing} ${this.name}: let the user delete files there`);
    });
  }

  /** Closes the connection; what is on its way fails. */
  async [Symbol.asyncDispose](): Promise<void> {
    const reason = `Cannot go on with ${this.name}: the destination was closed`;
    this.#closing.abort(new UploadError("interrupted", reason, { retryable: false }));
    await this.#turn;
    await this.#disconnect();
  }

  #call<T>(doing: string, options: CallOptions, work: (connection: FtpsConnection) => Promise<T>): Promise<T> {
    return this.#inTurn(doing, [options.signal], (signal) => this.#onConnection(signal, work));
  }

  /** One after another, since there is one connection; and again where that may help. */
  async #inTurn<T>(
    doing: string,
    signals: readonly (AbortSignal | undefined)[],
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const signal = AbortSignal.any([this.#closing.signal, ...signals.filter((each) => each !== undefined)]);
    const before = this.#turn;
    const { promise: done, resolve: finish } = Promise.withResolvers<void>();
    this.#turn = before.then(() => done);
    try {
      await abortable(before, signal);
      return await this.#persistently(doing, signal, work);
    } finally {
      finish();
    }
  }

  async #persistently<T>(doing: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { attempts, retryDelayMs } = this.#options;
    for (let attempt = 1;; attempt++) {
      try {
        return await work(signal);
      } catch (cause) {
        signal.throwIfAborted();
        const error = asUploadError(cause, `${doing} ${this.name}`);
        if (attempt >= attempts || !isRetryable(error)) throw error;
        await this.#disconnect();
        await delay(Math.min(retryDelayMs * 2 ** (attempt - 1), MAX_RETRY_DELAY_MS), { signal });
      }
    }
  }

  async #once(
    path: string,
    remote: RemotePath,
    options: PutOptions & { readonly mayBeLeft: boolean; readonly signal: AbortSignal },
  ): Promise<Receipt> {
    const source = await SourceFile.open(path, options);
    return await this.#onConnection(
      options.signal,
      (connection) => putFile(connection, source, remote, { ...options, pace: this.#options.pace }),
    );
  }

  async #onConnection<T>(signal: AbortSignal, work: (connection: FtpsConnection) => Promise<T>): Promise<T> {
    const connection = await this.#connected(signal);
    const abort = () => connection.abort();
    signal.addEventListener("abort", abort, { once: true });
    try {
      return await work(connection);
    } finally {
      signal.removeEventListener("abort", abort);
      if (connection.lostAnswers && !signal.aborted) this.#pipelining = false;
      if (connection.closed) await this.#disconnect();
    }
  }

  async #connected(signal: AbortSignal | undefined): Promise<FtpsConnection> {
    if (this.#connection?.closed) await this.#disconnect();
    return this.#connection ??= await FtpsConnection.open(this.#options, this.#pipelining, signal);
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
