import { hashFile, type HashOptions } from "./hash_file.ts";
import program from "./hash_worker.js" with { type: "text" };

/** A smaller file is hashed before a thread has been sent its name, or nearly so. */
const LARGE = 1 << 23;

/** More threads than this would wait for the disk. */
const MOST_WORKERS = 4;

/** What a worker answers: how many bytes it has come further, the hash, or what went wrong. */
type Answer = { readonly bytes: number } | { readonly sha256: string } | {
  readonly message: string;
  readonly code?: string;
};

/** Hashes several files at once, each large one in a thread of its own. Threads are started when they are needed. */
export class HashPool implements Disposable {
  readonly #idle: Worker[] = [];
  readonly #waiting: (() => void)[] = [];
  /** Workers that may still be started. */
  #unstarted: number;

  /** @param workers Most threads; none is started yet. */
  constructor(workers: number = Math.min(navigator.hardwareConcurrency, MOST_WORKERS)) {
    this.#unstarted = workers;
  }

  /**
   * Hashes a file.
   *
   * @param path Its path. @param bytes Its size, about. @param options How to stop, and who is told of the bytes.
   * @returns SHA-256 in hexadecimal.
   */
  async hash(path: string, bytes: number, options: HashOptions = {}): Promise<string> {
    if (bytes < LARGE) return await hashFile(path, options);
    while (this.#idle.length === 0 && this.#unstarted === 0) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    try {
      return await this.#hashThere(path, options);
    } finally {
      // Whoever was woken wakes the next, or that one would wait for ever.
      this.#waiting.shift()?.();
    }
  }

  /** Ends the threads. Nothing may be hashed any more. */
  [Symbol.dispose](): void {
    for (const worker of this.#idle.splice(0)) worker.terminate();
  }

  async #hashThere(path: string, options: HashOptions): Promise<string> {
    options.signal?.throwIfAborted();
    const worker = this.#idle.pop() ?? this.#start();
    try {
      const sha256 = await ask(worker, path, options);
      this.#idle.push(worker);
      return sha256;
    } catch (error) {
      // It may be amid the file.
      worker.terminate();
      this.#unstarted++;
      throw error;
    }
  }

  /** From its text, not its file: no permission to read the program is needed, and a bundle has it too. */
  #start(): Worker {
    this.#unstarted--;
    return new Worker(`data:text/javascript,${encodeURIComponent(program)}`, { type: "module" });
  }
}

function ask(worker: Worker, path: string, { signal, onBytes }: HashOptions): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  worker.onmessage = ({ data }: MessageEvent<Answer>) => {
    if ("bytes" in data) onBytes?.(data.bytes);
    else if ("sha256" in data) resolve(data.sha256);
    else reject(Object.assign(new Error(data.message), { code: data.code }));
  };
  worker.onerror = (event) => {
    event.preventDefault(); // or it would end the whole process
    reject(new Error(event.message));
  };
  const stop = () => reject(signal?.reason);
  signal?.addEventListener("abort", stop);
  worker.postMessage(path);
  return promise.finally(() => signal?.removeEventListener("abort", stop));
}
