import { ServerSocket, type ServerSocketOptions } from "./server_socket.ts";

/** The connections of a pool. postgres.js forgets those that are still coming about when it is closed. */
export class ServerSockets implements AsyncDisposable {
  readonly #options: ServerSocketOptions;
  readonly #open = new Set<ServerSocket>();
  #broke = false;

  constructor(options: ServerSocketOptions) {
    this.#options = options;
  }

  /** Begins to connect. */
  connect(): ServerSocket {
    const socket = new ServerSocket(this.#options);
    this.#open.add(socket);
    socket.once("close", () => this.#open.delete(socket));
    socket.once("error", () => this.#broke = true);
    return socket;
  }

  /** Whether one ever broke. */
  get broke(): boolean {
    return this.#broke;
  }

  /** Breaks every connection that is still open, and waits until postgres.js knows. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#open].map((socket) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      socket.once("close", resolve);
      socket.destroy();
      return promise;
    }));
  }
}
