import { createConnection, type Socket } from "node:net";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { trustAuthority } from "../../src/upload/trust.ts";
import type { FtpsServer } from "../support/ftps.ts";

/** What one connection is to upload. */
export interface BareTask {
  readonly server: Pick<FtpsServer, "host" | "port" | "user" | "password" | "caPem">;
  /** Absolute, at the server. */
  readonly folder: string;
  readonly files: readonly (readonly [source: string, name: string])[];
}

const scope = globalThis as unknown as {
  onmessage(event: MessageEvent<BareTask>): Promise<void>;
  postMessage(done: true): void;
};

/**
 * Run by upload.ts: a client on Deno's TLS that sends our commands and does nothing else. No hash, no time-outs, no second try, nothing looked at before;
 * files are read at once, and the port for the next one is asked for together with the rename: a round trip less than ours.
 */
scope.onmessage = async ({ data: { server, folder, files } }) => {
  Error.stackTraceLimit = 0; // as in our own worker
  const { host, port, user, password, caPem } = server;
  trustAuthority(caPem);
  const secure = { host, port, minVersion: "TLSv1.2", maxVersion: "TLSv1.2" } as const;
  const control = new Control();
  const socket = createConnection({ host, port, noDelay: true });
  control.hear(socket);
  await control.replies(1);
  socket.write("AUTH TLS\r\n");
  expect("234", (await control.replies(1))[0]);
  socket.removeAllListeners("data");
  const tls = await secured({ ...secure, socket });
  control.hear(tls);
  const ask = (...commands: string[]): Promise<string[]> => {
    tls.write(commands.map((command) => `${command}\r\n`).join(""));
    return control.replies(commands.length);
  };
  await ask(`USER ${user}`);
  expect("230", (await ask(`PASS ${password}`))[0]);
  for (const command of ["PBSZ 0", "PROT P", "TYPE I"]) expect("200", (await ask(command))[0]);
  await ask(`MKD ${folder}`, `CWD ${folder}`);
  const session = tls.getSession();
  if (session === undefined) throw new Error("No TLS session");
  let [passive = ""] = await ask("EPSV");
  for (const [source, name] of files) {
    const content = await Deno.readFile(source);
    const [part, path] = [`.${name}.part`, `${folder}/${name}`];
    const data = createConnection({
      host: tls.remoteAddress ?? host,
      port: Number(/\|(\d+)\|/.exec(passive)?.[1]),
      noDelay: true,
    });
    const going = ask(`STOR ${part}`);
    await new Promise<void>((resolve, reject) => data.once("connect", resolve).once("error", reject));
    const transfer = await secured({ ...secure, socket: data, session });
    transfer.end(content);
    expect("150", (await going)[0]);
    expect("226", (await control.replies(1))[0]);
    expect(`213 ${content.length}`, (await ask(`SIZE ${part}`, `SIZE ${path}`))[0]);
    const [, renamed, size, next = ""] = await ask(`RNFR ${part}`, `RNTO ${path}`, `SIZE ${path}`, "EPSV");
    expect("250", renamed);
    expect(`213 ${content.length}`, size);
    passive = next;
    transfer.destroy();
  }
  await ask("QUIT");
  tls.destroy();
  scope.postMessage(true);
};

/** Answers in the order in which they come. */
class Control {
  readonly #lines: string[] = [];
  #text = "";
  #wake = () => {};
  #closed = false;

  hear(socket: Socket): void {
    socket.on("data", (bytes: Uint8Array) => {
      const lines = (this.#text + new TextDecoder().decode(bytes)).split("\r\n");
      this.#text = lines.pop() ?? "";
      this.#lines.push(...lines.filter((line) => /^\d{3} /.test(line)));
      this.#wake();
    });
    socket.on("close", () => {
      this.#closed = true;
      this.#wake();
    });
  }

  async replies(count: number): Promise<string[]> {
    while (this.#lines.length < count) {
      if (this.#closed) throw new Error("The server has closed the connection");
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return this.#lines.splice(0, count);
  }
}

function secured(options: ConnectionOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect(options, () => resolve(socket)).once("error", reject);
  });
}

function expect(start: string, reply = ""): void {
  if (!reply.startsWith(start)) throw new Error(`Expected ${start}, got ${reply}`);
}
