import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { PGlite } from "@electric-sql/pglite";
import { type EmbeddedAssets, packagedAssets } from "./assets.ts";
import type { DirectoryLock } from "./directory_lock.ts";
import { Hub } from "./hub.ts";
import { Wire } from "./wire.ts";

/** A quarter of PostgreSQL's default, all of which is written to at each start: that takes 0.4 s and 110 MB. Files are in the system's cache anyway. */
const SHARED_BUFFERS = "32MB";

/** The process that has the folder: it runs PGlite, for itself and for the processes that connect to its socket. */
export class Leader implements AsyncDisposable {
  readonly #lock: DirectoryLock;
  readonly #pglite: PGlite;
  readonly #hub: Hub;
  readonly #connections = new Set<Socket>();
  #server: Server | undefined;

  private constructor(lock: DirectoryLock, pglite: PGlite) {
    this.#lock = lock;
    this.#pglite = pglite;
    this.#hub = new Hub({
      execute: (messages, answer) =>
        pglite.runExclusive(() => pglite.execProtocolRawStream(messages, { onRawData: answer })),
    });
  }

  /**
   * Starts PGlite.
   *
   * @param dataDir Its folder.
   * @param lock Of the folder; freed when the leader is closed, or if it cannot start.
   * @param assets PGlite's files, where they cannot be taken out of the npm package.
   * @param signal Ends the attempt with its reason.
   */
  static async start(
    dataDir: string,
    lock: DirectoryLock,
    assets: EmbeddedAssets | undefined,
    signal?: AbortSignal,
  ): Promise<Leader> {
    try {
      const pglite = await PGlite.create(dataDir, await pgliteOptions(assets));
      // PGlite cannot be stopped on its way.
      if (signal?.aborted) await pglite.close();
      signal?.throwIfAborted();
      return new Leader(lock, pglite);
    } catch (error) {
      lock[Symbol.dispose]();
      throw error;
    }
  }

  /** A connection within this process. */
  connect(): Wire {
    return new Wire(this.#hub);
  }

  /** Lets other processes in. @param path Of the socket, which is not there yet; its folder is the owner's only, since nobody is asked for a password. */
  async listen(path: string): Promise<void> {
    this.#server = createServer((socket) => {
      const wire = this.connect();
      this.#connections.add(socket);
      const end = () => {
        this.#connections.delete(socket);
        socket.destroy();
        wire.destroy();
      };
      for (const side of [socket, wire]) side.once("close", end).on("error", end);
      socket.pipe(wire).pipe(socket);
    });
    this.#server.listen(path);
    await once(this.#server, "listening");
  }

  /** Hangs up on the others, waits for what runs, and frees the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#server?.close();
      for (const socket of this.#connections) socket.destroy();
      await this.#hub.idle();
      await this.#pglite.close();
    } finally {
      this.#lock[Symbol.dispose]();
    }
  }
}

async function pgliteOptions(given: EmbeddedAssets | undefined) {
  const startParams = [...PGlite.defaultStartParams, "-c", `shared_buffers=${SHARED_BUFFERS}`];
  const assets = given ?? await packagedAssets();
  if (assets === undefined) return { startParams };
  const [pgliteWasmModule, initdbWasmModule] = await Promise.all([
    WebAssembly.compile(assets.wasm),
    WebAssembly.compile(assets.initdb),
  ]);
  return { fsBundle: new Blob([assets.data]), pgliteWasmModule, initdbWasmModule, startParams };
}
