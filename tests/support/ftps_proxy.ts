import type { FtpsServer } from "./ftps.ts";
import { TcpProxy } from "./tcp_proxy.ts";

/** Stands between a client and an FTPS server, for the control connection and for data connections alike. */
export class FtpsProxy implements AsyncDisposable {
  /** Where clients connect, with `servername`, which is in the certificate. An address of its own, so that the passive ports are free there. */
  readonly login: { readonly host: string; readonly port: number; readonly servername: string };
  /** The control connection. */
  readonly control: TcpProxy;
  /** One for each port that the server may name in its answer to EPSV. */
  readonly #data: readonly TcpProxy[];

  /** @param server It listens on 127.0.0.1. */
  constructor({ port, host, passive: [first, last] }: FtpsServer) {
    const byte = () => 1 + Math.floor(Math.random() * 250);
    const hostname = `127.${byte()}.${byte()}.${byte()}`;
    this.control = new TcpProxy(port, undefined, { hostname, port: 0 });
    this.#data = Array.from(
      { length: last - first + 1 },
      (_, at) => new TcpProxy(first + at, undefined, { hostname, port: first + at }),
    );
    this.login = { host: hostname, port: this.control.port, servername: host };
  }

  /** Data connections so far. */
  get dataConnections(): number {
    return this.#data.reduce((sum, { connections }) => sum + connections, 0);
  }

  /** From now on, data connections are cut at once. */
  refuseData(): void {
    for (const proxy of this.#data) proxy.refusing = true;
  }

  /** Ends the data connection that there is. */
  cutData(): void {
    for (const proxy of this.#data) proxy.cut();
  }

  /** From now on nothing gets through data connections. */
  freezeData(): void {
    for (const proxy of this.#data) proxy.freeze();
  }

  /** Ends one connection, of either kind, chosen by a number from 0 to 1. @returns Whether there was one. */
  cutOne(which: number): boolean {
    const busy = [this.control, ...this.#data].flatMap((proxy) => Array.from({ length: proxy.connected }, () => proxy));
    const at = which * busy.length;
    return busy[Math.floor(at)]?.cutOne(at % 1) ?? false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.control, ...this.#data].map((proxy) => proxy[Symbol.asyncDispose]()));
  }
}
