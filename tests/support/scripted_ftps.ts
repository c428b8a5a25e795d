import { sharedPki } from "./pki.ts";

/** What a scripted server does; whatever is not given is done as a friendly server does it. */
export interface Script {
  /** The greeting, without the last line end. */
  readonly greeting?: string;
  /** Answers by command; `undefined` falls through to the friendly answer. */
  readonly answer?: (command: string, argument: string) => string | undefined;
  /** The answer to EPSV or PASV, for the port that waits. */
  readonly passive?: (command: string, port: number) => string | undefined;
  /** Whether commands are lost that come together with one before them. */
  readonly deafMeanwhile?: boolean;
  /** Receives a file; says `150` and what else is to be said. @default Reads all, then says 226. */
  readonly store?: (say: (text: string) => Promise<void>, data: Deno.Conn) => Promise<Uint8Array>;
}

/** A server in implicit TLS that keeps no files but the sizes of those it was sent, all in one folder, to say and do what real servers only do when broken. */
export class ScriptedFtps implements AsyncDisposable {
  /** Every command that came, without arguments. */
  readonly heard: string[] = [];
  /** Sizes by name, without folders, after renames. */
  readonly files = new Map<string, number>();
  readonly #listener: Deno.TlsListener;
  readonly #script: Script;
  readonly #running = new Set<Promise<void>>();
  readonly #open = new Set<Deno.Conn | Deno.TlsListener>();

  constructor(script: Script = {}) {
    this.#script = script;
    this.#listener = listen();
    this.#run(this.#accept());
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const each of this.#open) close(each);
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  async #accept(): Promise<void> {
    for await (const control of this.#listener) this.#run(this.#talk(control));
  }

  async #talk(control: Deno.TlsConn): Promise<void> {
    this.#open.add(control);
    const say = async (text: string) => {
      const bytes = new TextEncoder().encode(`${text}\r\n`);
      for (let sent = 0; sent < bytes.length;) sent += await control.write(bytes.subarray(sent));
    };
    let [passive, renaming] = [undefined as Deno.TlsListener | undefined, ""];
    const handle = async (command: string, argument: string): Promise<void> => {
      this.heard.push(command);
      const own = this.#script.answer?.(command, argument);
      if (own !== undefined) return await say(own);
      switch (command) {
        case "EPSV":
        case "PASV": {
          passive = listen();
          this.#open.add(passive);
          const { port } = passive.addr;
          return await say(
            this.#script.passive?.(command, port) ??
              (command === "EPSV"
                ? `229 Extended (|||${port}|)`
                : `227 Passive (127,0,0,1,${port >> 8},${port & 255})`),
          );
        }
        case "STOR": {
          if (passive === undefined) return await say("425 No data connection");
          const accepting = passive.accept();
          if (this.#script.store === undefined) await say("150 Go ahead");
          const data = await accepting;
          this.#open.add(data);
          const store = this.#script.store ?? (async (_, data) => {
            const bytes = await new Response(data.readable).bytes();
            await say("226 Done");
            return bytes;
          });
          const bytes = await store(say, data);
          close(data);
          this.files.set(nameOf(argument), bytes.length);
          return;
        }
        case "SIZE": {
          const size = this.files.get(nameOf(argument));
          return await say(size === undefined ? "550 No such file" : `213 ${size}`);
        }
        case "DELE":
          return await say(this.files.delete(nameOf(argument)) ? "250 Done" : "550 No such file");
        case "RNFR":
          renaming = nameOf(argument);
          return await say("350 To what?");
        case "RNTO":
          if (renaming === "") return await say("503 RNFR first");
          this.files.set(nameOf(argument), this.files.get(renaming) ?? -1);
          this.files.delete(renaming);
          renaming = "";
          return await say("250 Done");
        case "USER":
          return await say("331 Password");
        case "PASS":
          return await say("230 Welcome");
        case "FEAT":
          return await say("211-Features\r\n SIZE\r\n211 End");
        default:
          return await say("200 Done");
      }
    };

    await say(this.#script.greeting ?? "220 Ready");
    const decoder = new TextDecoderStream();
    const lines: ReadableStream<string> = control.readable.pipeThrough(decoder);
    let pending = "";
    for await (const text of lines) {
      pending += text;
      for (let end = pending.indexOf("\r\n"); end >= 0; end = pending.indexOf("\r\n")) {
        const [command = "", ...rest] = pending.slice(0, end).split(" ");
        pending = pending.slice(end + 2);
        if (this.#script.deafMeanwhile) pending = "";
        await handle(command.toUpperCase(), rest.join(" "));
      }
    }
  }

  #run(task: Promise<void>): void {
    const done = task.catch(() => {}).finally(() => this.#running.delete(done));
    this.#running.add(done);
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function listen(): Deno.TlsListener {
  const { certPem: cert, keyPem: key } = sharedPki();
  return Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert, key });
}

function close(resource: { close(): void }): void {
  try {
    resource.close();
  } catch {
    // It was closed already.
  }
}
