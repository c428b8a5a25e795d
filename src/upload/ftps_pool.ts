import { abortable } from "@std/async";
import type { CallOptions, Destination, PutOptions, Receipt, RemoteFile } from "./destination.ts";
import { UploadError } from "./errors.ts";
import { checkFtpsOptions, type FtpsOptions, nameOf } from "./ftps_options.ts";
import { remotePath } from "./remote_path.ts";
import { WorkerConnection } from "./worker_connection.ts";

/** How many connections a pool has, and what they run. */
export interface FtpsPoolOptions extends FtpsOptions {
  /** Most connections at once, each in a worker of its own. From 1 to 64. @default {4} */
  readonly connections?: number;
  /** The module that its workers run, for programs that are bundled. @default This package's own. */
  readonly workerModule?: URL;
}

/**
 * An FTPS server over several connections. Each is in a worker, since Deno keeps the TLS sessions of an isolate in one store, and strict servers refuse a
 * data connection that offers another connection's session. Starting one needs the permission to read this package's modules.
 *
 * Files are put in the order in which they are asked for, as many at once as there are connections.
 */
export class FtpsPool implements Destination {
  /** `host:port`, and the base folder if that is not `/`. */
  readonly name: string;
  /** Most files that are put at once. */
  readonly connections: number;
  readonly #options: FtpsOptions;
  readonly #timeoutMs: number;
  readonly #module: URL;
  readonly #free: WorkerConnection[] = [];
  readonly #waiting: ((connection: WorkerConnection | undefined) => void)[] = [];
  readonly #all = new Set<WorkerConnection>();
  #closed = false;

  private constructor({ connections = 4, workerModule, ...options }: FtpsPoolOptions) {
    if (!Number.isInteger(connections) || connections < 1 || connections > 64) {
      throw new RangeError(
        `Cannot connect as 'connections' must be a whole number from 1 to 64: current value is ${connections}`,
      );
    }
    this.#timeoutMs = checkFtpsOptions(options).timeoutMs;
    this.#options = options;
    this.#module = workerModule ?? new URL("./ftps_worker_main.ts", import.meta.url);
    this.connections = connections;
    this.name = nameOf(options);
  }

  /**
   * Connects once, so that a wrong setting shows; the other connections are made as they are needed.
   *
   * @param options Where, how, and how many connections.
   * @param call Stops it.
   * @throws {UploadError} Saying why and what to do.
   * @throws {RangeError} If an option cannot be used.
   */
  static async open(options: FtpsPoolOptions, call: CallOptions = {}): Promise<FtpsPool> {
    call.signal?.throwIfAborted();
    const pool = new FtpsPool(options);
    await pool.#with(call, () => Promise.resolve());
    return pool;
  }

  /** As {@linkcode Destination.put}. */
  put(source: string, path: string, options: PutOptions = {}): Promise<Receipt> {
    return this.#with(options, (connection) => connection.put(source, path, options), path);
  }

  /** As {@linkcode Destination.stat}. */
  stat(path: string, options: CallOptions = {}): Promise<RemoteFile | undefined> {
    return this.#with(options, (connection) => connection.stat(path, options), path);
  }

  /** As {@linkcode Destination.list}. */
  list(folder: string, options: CallOptions = {}): Promise<readonly RemoteFile[]> {
    return this.#with(options, (connection) => connection.list(folder, options), folder);
  }

  /** As {@linkcode Destination.rename}. */
  rename(from: string, to: string, options: CallOptions = {}): Promise<void> {
    return this.#with(options, (connection) => connection.rename(from, to, options), from);
  }

  /** As {@linkcode Destination.remove}. */
  remove(path: string, options: CallOptions = {}): Promise<void> {
    return this.#with(options, (connection) => connection.remove(path, options), path);
  }

  /** Closes all connections; what is on its way fails. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const wake of this.#waiting.splice(0)) wake(undefined);
    await Promise.all([...this.#all].map((connection) => connection[Symbol.asyncDispose]()));
  }

  async #with<T>(call: CallOptions, work: (connection: WorkerConnection) => Promise<T>, path?: string): Promise<T> {
    if (path !== undefined) remotePath(this.#options.basePath ?? "/", path); // a bad name need not wait its turn
    const connection = await this.#take(call);
    try {
      return await work(connection);
    } finally {
      await this.#giveBack(connection);
    }
  }

  async #take(call: CallOptions): Promise<WorkerConnection> {
    call.signal?.throwIfAborted();
    const free = this.#closed ? undefined : this.#free.pop();
    if (free !== undefined) return free;
    if (!this.#closed && this.#all.size < this.connections) return await this.#connect(call);
    if (this.#closed) throw this.#closedError();
    const { promise, resolve } = Promise.withResolvers<WorkerConnection | undefined>();
    this.#waiting.push(resolve);
    try {
      const given = call.signal === undefined ? await promise : await abortable(promise, call.signal);
      if (given !== undefined) return given;
    } catch (error) {
      const at = this.#waiting.indexOf(resolve);
      if (at >= 0) this.#waiting.splice(at, 1);
      else void promise.then((given) => given && this.#giveBack(given)); // it was given one just now
      throw error;
    }
    if (this.#closed) throw this.#closedError();
    return await this.#take(call); // a worker has died: there is room for a new one
  }

  async #connect(call: CallOptions): Promise<WorkerConnection> {
    const connection = new WorkerConnection(this.#module, this.#timeoutMs);
    this.#all.add(connection);
    try {
      await connection.open(this.#options, call);
      return connection;
    } catch (error) {
      await this.#drop(connection);
      throw error;
    }
  }

  async #giveBack(connection: WorkerConnection): Promise<void> {
    if (this.#closed) return;
    if (connection.broken) return await this.#drop(connection);
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(connection);
    else next(connection);
  }

  async #drop(connection: WorkerConnection): Promise<void> {
    await connection[Symbol.asyncDispose]();
    this.#all.delete(connection);
    this.#waiting.shift()?.(undefined);
  }

  #closedError(): UploadError {
    return new UploadError("interrupted", `Cannot go on with ${this.name}: the destination was closed`, {
      retryable: false,
    });
  }
}
