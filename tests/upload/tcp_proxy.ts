import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** A TCP connection with a pair of scissors: forwards to a port of this machine until it is cut. */
export class TcpProxy implements AsyncDisposable {
  /** How many connections were made so far. */
  connections = 0;
  readonly port: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, target: number) {
    this.port = (server.address() as AddressInfo).port;
    this.#server = server;
    server.on("connection", (near: Socket) => {
      this.connections++;
      const far = this.#keep(connect({ port: target, host: "127.0.0.1", noDelay: true }));
      this.#keep(near).pipe(far).pipe(near);
      near.once("close", () => far.destroy());
      far.once("close", () => near.destroy());
    });
  }

  static async to(target: number): Promise<TcpProxy> {
    const server = createServer({ noDelay: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new TcpProxy(server, target);
  }

  /** Ends all connections at once, on both sides. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = [...this.#sockets].map((socket) => new Promise((resolve) => socket.once("close", resolve)));
    this.cut();
    await Promise.all([...closed, new Promise((resolve) => this.#server.close(resolve))]);
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("close", () => this.#sockets.delete(socket));
    return socket;
  }
}
