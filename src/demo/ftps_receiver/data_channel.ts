import { deadline } from "@std/async";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { SecureContext } from "node:tls";
import { Reply } from "./reply.ts";
import { secured } from "./secure.ts";
import { Incoming } from "./transfer.ts";

/** Time for the client to connect and to negotiate TLS, in milliseconds. */
const CONNECT_MS = 10_000;
/** Longest pause within a transfer, in milliseconds. */
const STALL_MS = 30_000;

/** Under which conditions a data connection is accepted. */
export interface DataChannelRules {
  /** Address to listen on. */
  readonly host: string;
  /** First and last port to listen on. */
  readonly passivePorts: readonly [number, number];
  /** The client's address: nobody else may connect (RFC 2577 section 4). */
  readonly client: string;
  /** Certificate and key. */
  readonly context: SecureContext;
  /** Whether it must resume the control connection's session. */
  readonly requireReuse: boolean;
}

/** A data connection that was accepted. */
export interface DataConnection {
  readonly socket: Socket;
  readonly incoming: Incoming;
}

/** The port that is open for the next transfer, and the one connection that comes in by it. */
export class DataChannel implements AsyncDisposable {
  /** Where the client should connect to. */
  readonly port: number;
  readonly #server: Server;
  readonly #rules: DataChannelRules;
  readonly #incoming: Promise<Socket>;
  readonly #sockets: Socket[] = [];

  private constructor(server: Server, rules: DataChannelRules) {
    this.port = (server.address() as AddressInfo).port;
    this.#server = server;
    this.#rules = rules;
    this.#incoming = new Promise((resolve, reject) => {
      server.on("connection", (socket: Socket) => {
        this.#keep(socket);
        if (socket.remoteAddress === rules.client && this.#sockets.length === 1) resolve(socket);
        else socket.destroy();
      });
      server.once("close", () => reject(new Reply(425, "No data connection.")));
    });
    this.#incoming.catch(() => {}); // the client may never ask for a transfer
  }

  /** Opens a port. */
  static async open(rules: DataChannelRules): Promise<DataChannel> {
    const [first, last] = rules.passivePorts;
    for (let port = first;; port++) {
      const server = createServer({ pauseOnConnect: true });
      try {
        server.listen(port, rules.host);
        await once(server, "listening");
        return new DataChannel(server, rules);
      } catch {
        if (port >= last) throw new Reply(425, "No port is free.");
      }
    }
  }

  /** Waits for the client's connection and makes it secure. @throws {Reply} If there is none, or not by the rules. */
  async accept(): Promise<DataConnection> {
    const plain = await inTime(this.#incoming, 425, "No data connection.");
    const socket = this.#keep(secured(plain, this.#rules.context));
    const incoming = new Incoming(socket);
    const failed = once(socket, "close").then(() => {
      throw new Reply(522, "TLS negotiation failed.");
    });
    await inTime(Promise.race([once(socket, "secure"), failed]), 522, "TLS negotiation failed.");
    if (this.#rules.requireReuse && !socket.isSessionReused()) {
      throw new Reply(522, "SSL connection failed: session reuse required.");
    }
    socket.setTimeout(STALL_MS, () => socket.destroy());
    return { socket, incoming };
  }

  /** Ends what is going on. */
  abort(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  /** Closes the port and its connection. Harmless if done already. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closing = this.#server.listening ? once(this.#server, "close") : undefined;
    this.abort();
    await closing;
  }

  #keep<S extends Socket>(socket: S): S {
    this.#sockets.push(socket);
    socket.on("error", () => {}); // whoever uses the socket hears of it through its streams
    return socket;
  }
}

async function inTime<T>(promise: Promise<T>, code: number, text: string): Promise<T> {
  try {
    return await deadline(promise, CONNECT_MS);
  } catch (error) {
    throw error instanceof Reply ? error : new Reply(code, text);
  }
}
