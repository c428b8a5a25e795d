import { once } from "node:events";
import { isIP, Socket } from "node:net";
import { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";

/** A server on the network. */
interface NetworkAddress {
  readonly host: string;
  readonly port: number;
  /** PEM of the authority that signed the server's certificate, the system's authorities if it is empty; `false` for no encryption. */
  readonly tls: { readonly ca?: string } | false;
}

/** A server on this host. */
interface LocalAddress {
  /** Its Unix socket. */
  readonly path: string;
  /** Awaited before each connection. */
  readonly ready: () => Promise<void>;
}

/** Where and how to connect. */
export type ServerSocketOptions = (NetworkAddress | LocalAddress) & {
  /** A connection on which nothing moves for so long is given up: the server hangs, or the network between. */
  readonly silenceMs: number;
};

/** SSLRequest (PostgreSQL manual, "Message Formats"). */
const SSL_REQUEST = Uint8Array.of(0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f);

/** Between the "error" and the "close" of a connection that broke. */
const LAST_WORDS_MS = 10;

/**
 * A connection to a server, for postgres.js 3.4, which is at a loss in five cases when it has a plain socket:
 *
 * - a server that is silent keeps its queries waiting for ever: here a silent connection is broken off;
 * - a server that hangs up before its greeting is tried again at once, for ever: here every end is an error;
 * - queries that are sent between "error" and "close" of a socket that says it had an error are never answered: here "close" does not say so;
 * - what is sent right after "close", as the rollback of a broken transaction, throws where nobody can catch it: here "close" comes a little later;
 * - the name in the certificate of a server given by its address is not verified: here it is.
 */
export class ServerSocket extends Duplex {
  readonly #raw = new Socket();
  readonly #opening: Promise<Socket>;
  #open: Socket | undefined;
  #broken = false;

  /** Begins to connect; what is written waits. */
  constructor(options: ServerSocketOptions) {
    super();
    // postgres.js adds a listener later; an error before would otherwise end the process.
    this.on("error", () => {});
    this.#raw.on("error", (error) => this.#break(error));
    this.#opening = this.#connect(options);
    this.#opening.catch((error) => this.#break(error));
  }

  /** As `net.Socket` has it: postgres.js asks before it says goodbye. */
  get readyState(): "opening" | "open" | "readOnly" | "closed" {
    if (this.destroyed) return "closed";
    if (this.#open === undefined) return "opening";
    return this.writableEnded || this.#broken ? "readOnly" : "open";
  }

  override _read(): void {
    this.#open?.resume();
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    // Nobody answers any more, as "close" is going to say.
    if (this.#broken) return done();
    this.#opening.then((socket) => socket.write(chunk, () => done()), () => done());
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#opening.then((socket) => socket.end(() => done()), () => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#broken = true;
    this.#open?.destroy();
    this.#raw.destroy();
    if (this.#raw.closed) done(error);
    else this.#raw.once("close", () => done(error));
  }

  #break(error: Error): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#open?.destroy();
    this.#raw.destroy();
    this.emit("error", error);
    // Not in the timer itself: postgres.js writes in immediates, and must not be left with one that was not run.
    setTimeout(() => setImmediate(() => this.destroy()), LAST_WORDS_MS);
  }

  async #connect(options: ServerSocketOptions): Promise<Socket> {
    const socket = "path" in options ? await this.#connectLocally(options) : await this.#connectOver(options);
    socket.setTimeout(options.silenceMs, () => this.#break(connectionError("CONNECTION_CLOSED")));
    socket.on("data", (chunk) => {
      if (!this.push(chunk)) socket.pause();
    });
    for (const end of ["end", "close"]) socket.on(end, () => this.#break(connectionError("CONNECTION_CLOSED")));
    return this.#open = socket;
  }

  async #connectLocally({ path, ready }: LocalAddress): Promise<Socket> {
    await ready();
    if (this.#broken) throw connectionError("CONNECTION_CLOSED");
    this.#raw.connect({ path });
    await this.#first(this.#raw, "connect");
    return this.#raw;
  }

  async #connectOver({ host, port, tls }: NetworkAddress): Promise<Socket> {
    this.#raw.connect(port, host);
    await this.#first(this.#raw, "connect");
    this.#raw.setNoDelay(true);
    this.#raw.setKeepAlive(true, 60_000);
    return tls === false ? this.#raw : await this.#encrypt(host, tls);
  }

  async #encrypt(host: string, tls: { readonly ca?: string }): Promise<Socket> {
    this.#raw.write(SSL_REQUEST);
    const answer = await this.#first(this.#raw, "data");
    // More than one byte was sent in the clear by someone in between (CVE-2021-23222).
    if (!(answer instanceof Uint8Array) || answer.length !== 1 || answer[0] !== "S".charCodeAt(0)) {
      throw connectionError("ERR_TLS_REFUSED");
    }
    const socket = connectTls({
      socket: this.#raw,
      host,
      ...(isIP(host) ? {} : { servername: host }),
      ...(tls.ca === undefined ? {} : { ca: tls.ca }),
      rejectUnauthorized: true,
    });
    socket.on("error", (error) => this.#break(error));
    await this.#first(socket, "secureConnect");
    return socket;
  }

  /** The first value of an event, unless this or the other end closes before. */
  async #first(socket: Socket, event: string): Promise<unknown> {
    const ended = new AbortController();
    const end = () => ended.abort();
    for (const last of ["end", "close"]) socket.once(last, end);
    try {
      const [value] = await once(socket, event, { signal: ended.signal }) as unknown[];
      return value;
    } catch (error) {
      throw ended.signal.aborted ? connectionError("CONNECTION_CLOSED") : error;
    } finally {
      for (const last of ["end", "close"]) socket.removeListener(last, end);
    }
  }
}

function connectionError(code: string): Error {
  return Object.assign(new Error(`Connection failed: ${code}`), { code });
}
