/** Stands between a client and a server on 127.0.0.1, to cut or freeze their connections, or to speak TLS for the server. */
export class TcpProxy implements AsyncDisposable {
  readonly #listener: Deno.Listener<Deno.Conn, Deno.NetAddr>;
  readonly #target: number;
  readonly #connections = new Set<Deno.Conn>();
  readonly #running = new Set<Promise<void>>();
  #thawed = Promise.resolve();
  #thaw: (() => void) | undefined;
  /** Whether new connections are cut at once. */
  refusing = false;
  /** How many were. */
  refused = 0;
  /** How many connections were let through so far. */
  connections = 0;
  /** Whether what is sent vanishes, as in a firewall that forgot the connection: one that lost something stays dead, and no end hears of the other's. */
  swallowing = false;
  /** What clients sent last, as it came. */
  lastSent: Uint8Array = new Uint8Array();
  /** Lengths, in bytes and in turn, of the pieces in which everything is passed on; empty: as it comes. */
  slices: readonly number[] = [];

  /** @param target The server's port. @param tls Certificate and key, in PEM. @param address Where to listen. */
  constructor(
    target: number,
    tls?: Deno.TlsCertifiedKeyPem,
    address: { readonly hostname: string; readonly port: number } = { hostname: "127.0.0.1", port: 0 },
  ) {
    this.#listener = tls === undefined ? Deno.listen(address) : Deno.listenTls({ ...address, ...tls });
    this.#target = target;
    this.#run(this.#accept());
  }

  /** Where clients connect. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** How many connections there are. */
  get connected(): number {
    return this.#connections.size / 2;
  }

  /** Ends every connection at once. */
  cut(): void {
    for (const connection of this.#connections) close(connection);
    this.#connections.clear();
  }

  /** Ends one connection, chosen by a number from 0 to 1. @returns Whether there was one. */
  cutOne(which: number): boolean {
    const each = [...this.#connections];
    const one = each[Math.floor(which * each.length)];
    if (one !== undefined) close(one);
    return one !== undefined;
  }

  /** From now on nothing gets through, in either direction, but connections stay. */
  freeze(): void {
    if (this.#thaw === undefined) this.#thawed = new Promise((resolve) => this.#thaw = resolve);
  }

  /** Everything gets through again, what was held up first. */
  thaw(): void {
    this.#thaw?.();
    this.#thaw = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.cut();
    this.thaw();
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  async #accept(): Promise<void> {
    for await (const client of this.#listener) {
      if (this.refusing) {
        this.refused++;
        close(client);
        continue;
      }
      this.connections++;
      this.#run(this.#join(client));
    }
  }

  async #join(client: Deno.Conn): Promise<void> {
    const server = await Deno.connect({ hostname: "127.0.0.1", port: this.#target }).catch(() => undefined);
    if (server === undefined) return close(client); // a port for data that nobody waits at any more
    this.#connections.add(client).add(server);
    // What comes in two writes is not to wait for the other end's delayed acknowledgement (40 ms) just because there is a proxy between.
    for (const connection of [client, server]) {
      if ("setNoDelay" in connection) (connection as Deno.TcpConn).setNoDelay();
    }
    const link = { dead: false };
    const note = (bytes: Uint8Array) => void (this.lastSent = bytes.slice());
    await Promise.all([this.#copy(client, server, link, note), this.#copy(server, client, link)]);
    for (const connection of [client, server]) {
      close(connection);
      this.#connections.delete(connection);
    }
  }

  async #copy(
    from: Deno.Conn,
    to: Deno.Conn,
    link: { dead: boolean },
    note: (bytes: Uint8Array) => void = () => {},
  ): Promise<void> {
    const buffer = new Uint8Array(65_536);
    try {
      for (;;) {
        const length = await from.read(buffer);
        await this.#thawed;
        link.dead ||= this.swallowing;
        if (length === null) break;
        note(buffer.subarray(0, length));
        if (!link.dead) await this.#pass(buffer.subarray(0, length), to);
      }
      if (link.dead) return;
      await to.closeWrite();
    } catch {
      close(to);
    }
  }

  async #pass(bytes: Uint8Array, to: Deno.Conn): Promise<void> {
    for (let sent = 0, turn = 0; sent < bytes.length; turn++) {
      const length = this.slices[turn % this.slices.length] ?? bytes.length;
      sent += await to.write(bytes.subarray(sent, sent + length));
    }
  }

  #run(task: Promise<void>): void {
    const done = task.catch(() => {}).finally(() => this.#running.delete(done));
    this.#running.add(done);
  }
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // It was closed already.
  }
}
