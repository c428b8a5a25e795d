import { realpath } from "node:fs/promises";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createSecureContext } from "node:tls";
import { ControlConnection } from "./control_connection.ts";
import { secured } from "./secure.ts";

/** What an {@linkcode FtpsReceiver} needs to know. */
export interface FtpsReceiverOptions {
  /** The folder that clients see as `/`; it must be there. */
  readonly root: string;
  /** The one user. */
  readonly user: string;
  /** The user's password. */
  readonly password: string;
  /** Server certificate, PEM. */
  readonly certPem: string;
  /** Its private key, PEM. */
  readonly keyPem: string;
  /** `implicit`: TLS from the first byte. `explicit`: after `AUTH TLS`. */
  readonly mode: "implicit" | "explicit";
  /**
   * Whether data connections must resume the control connection's TLS session. Clients must use session tickets for that (RFC 5077); curl does not in
   * TLS 1.2. @default {true}
   */
  readonly requireReuse?: boolean;
  /** Address to listen on. @default {"127.0.0.1"} */
  readonly host?: string;
  /** First and last port for data connections, for firewalls. @default {[0, 0]} Any that is free. */
  readonly passivePorts?: readonly [number, number];
  /** Port of the control connection; 0 takes a free one. @default {0} */
  readonly port?: number;
}

/** A running server. Closing it ends every connection. */
export class FtpsReceiver implements AsyncDisposable {
  /** Port of the control connection. */
  readonly port: number;
  readonly #server: Server;
  readonly #connections: Set<ControlConnection>;

  private constructor(server: Server, connections: Set<ControlConnection>) {
    this.port = (server.address() as AddressInfo).port;
    this.#server = server;
    this.#connections = connections;
  }

  /**
   * Starts to listen.
   *
   * @param options Folder, login, certificate.
   * @returns The server, ready.
   * @throws If the folder is not there, the certificate cannot be read or the port is taken.
   */
  static async listen(options: FtpsReceiverOptions): Promise<FtpsReceiver> {
    const { user, password, mode, requireReuse = true, host = "127.0.0.1", port = 0, passivePorts = [0, 0] } = options;
    const root = await realpath(options.root);
    // Not TLS 1.3: clients that only send leave its session tickets unread, so their close becomes a reset that loses the end of what they sent; and
    // Deno 2.9 reports a reset as a clean end.
    const versions = { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" } as const;
    const context = createSecureContext({ cert: options.certPem, key: options.keyPem, ...versions });
    const connections = new Set<ControlConnection>();
    const server = createServer({ noDelay: true }, (socket: Socket) => {
      const connection = new ControlConnection(
        mode === "implicit" ? secured(socket, context) : socket,
        { root, user, password, context, requireReuse, host, passivePorts, encrypted: mode === "implicit" },
      );
      connections.add(connection);
      connection.closed.then(() => connections.delete(connection));
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, host, resolve);
    });
    return new FtpsReceiver(server, connections);
  }

  /** Ends every connection and stops listening. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    const stopped = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await Promise.all([...this.#connections].map((connection) => connection.close()));
    await stopped;
  }
}
