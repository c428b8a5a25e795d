import { createHash } from "node:crypto";
import { createReadStream, type Stats, writeSync } from "node:fs";
import { lstat, mkdir, open, rename, rmdir, unlink } from "node:fs/promises";
import type { Socket } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { DataChannel, type DataConnection } from "./data_channel.ts";
import { list, listLine, machineLine, timeValue } from "./listing.ts";
import { Reply } from "./reply.ts";
import type { Session } from "./session.ts";
import { send } from "./transfer.ts";
import { VirtualFolder } from "./virtual_folder.ts";

type Command = (argument: string) => Promise<void> | void;

/** The commands of somebody who is logged in: RFC 959, RFC 2428 (EPSV), RFC 3659 (SIZE, MDTM, MLSD, REST). */
export class FileCommands {
  /** Whether the client has asked for TLS on data connections; there is no transfer without. */
  isProtected = false;
  readonly #session: Session;
  readonly #control: Socket;
  readonly #say: (code: number, text: string) => void;
  readonly #folder: VirtualFolder;
  #channel: DataChannel | undefined;
  #offset = 0;
  #renaming: string | undefined;

  /** @param session Root and rules. @param control For the addresses at its ends. @param say Answers. */
  constructor(session: Session, control: Socket, say: (code: number, text: string) => void) {
    this.#session = session;
    this.#control = control;
    this.#say = say;
    this.#folder = new VirtualFolder(session.root);
  }

  readonly #commands: Readonly<Record<string, Command>> = {
    TYPE: () => this.#say(200, "Always binary."),
    STRU: (kind) => this.#accept(/^F$/i.test(kind)),
    MODE: (kind) => this.#accept(/^S$/i.test(kind)),
    ALLO: () => this.#say(202, "Not needed."),
    PWD: () => this.#say(257, quoted(this.#folder.current)),
    CWD: (path) => this.#enter(path),
    CDUP: () => this.#enter(".."),
    MKD: async (path) => {
      await mkdir(await this.#folder.local(path), { mode: 0o700 });
      this.#say(257, `${quoted(this.#folder.resolve(path))} created.`);
    },
    RMD: async (path) => this.#done(await rmdir(await this.#folder.local(path))),
    DELE: async (path) => this.#done(await unlink(await this.#folder.local(path))),
    SIZE: async (path) => this.#say(213, String((await this.#file(path)).size)),
    MDTM: async (path) => this.#say(213, timeValue((await this.#file(path)).mtime)),
    XSHA256: async (path) => {
      await this.#file(path);
      const hash = createHash("sha256");
      await pipeline(createReadStream(await this.#folder.local(path)), hash);
      this.#say(250, hash.digest("hex").toUpperCase());
    },
    RNFR: async (path) => {
      const from = await this.#folder.local(path);
      await lstat(from);
      this.#renaming = from;
      this.#say(350, "To what?");
    },
    RNTO: async (path) => {
      const from = this.#renaming;
      this.#renaming = undefined;
      if (from === undefined) throw new Reply(503, "Say RNFR first.");
      this.#done(await rename(from, await this.#folder.local(path)));
    },
    REST: (offset) => {
      if (!/^\d{1,15}$/.test(offset)) throw new Reply(501, "Not an offset.");
      this.#offset = Number(offset);
      this.#say(350, `Starting at ${this.#offset}.`);
    },
    EPSV: async () => {
      const { port } = await this.#listen();
      this.#say(229, `Entering Extended Passive Mode (|||${port}|)`);
    },
    PASV: async () => {
      const { port } = await this.#listen();
      const address = (this.#control.localAddress ?? "").replace("::ffff:", "").replaceAll(".", ",");
      this.#say(227, `Entering Passive Mode (${address},${port >> 8},${port & 0xff})`);
    },
    STOR: (path) => this.#store(path, false),
    APPE: (path) => this.#store(path, true),
    RETR: async (path) => {
      const start = this.#offset;
      await this.#file(path);
      const local = await this.#folder.local(path);
      await this.#transfer(({ socket }) => send(createReadStream(local, { start }), socket));
    },
    MLSD: (path) => this.#list(path, machineLine, "type=cdir; ."),
    LIST: (path) => this.#list(path.replace(/^-\S+ ?/, ""), listLine, "total 0"),
  };

  /** Carries out one command. @throws Anything; `Reply.from` says it to the client. */
  async carryOut(name: string, argument: string): Promise<void> {
    const command = Object.hasOwn(this.#commands, name) ? this.#commands[name] : undefined;
    if (command === undefined) throw new Reply(502, "Not known here.");
    if (name !== "RNTO") this.#renaming = undefined;
    try {
      await command(argument);
    } finally {
      if (!["REST", "EPSV", "PASV", "TYPE"].includes(name)) this.#offset = 0;
    }
  }

  /** Ends the transfer that is going on. */
  abort(): void {
    this.#channel?.abort();
  }

  #done(_nothing: void): void {
    this.#say(250, "Done.");
  }

  #accept(isKnown: boolean): void {
    if (!isKnown) throw new Reply(504, "Not known here.");
    this.#say(200, "Done.");
  }

  async #enter(path: string): Promise<void> {
    const folder = await lstat(await this.#folder.local(path));
    if (!folder.isDirectory()) throw new Reply(550, "Not a folder.");
    this.#folder.current = this.#folder.resolve(path);
    this.#say(250, "Done.");
  }

  async #file(path: string): Promise<Stats> {
    const file = await lstat(await this.#folder.local(path));
    if (!file.isFile()) throw new Reply(550, "Not a file.");
    return file;
  }

  async #listen(): Promise<DataChannel> {
    await this.#channel?.[Symbol.asyncDispose]();
    this.#channel = await DataChannel.open({ ...this.#session, client: this.#control.remoteAddress ?? "" });
    if (this.#control.destroyed) this.abort();
    return this.#channel;
  }

  async #store(path: string, append: boolean): Promise<void> {
    let position = append ? null : this.#offset;
    const file = await open(await this.#folder.local(path), append ? "a" : position === 0 ? "w" : "r+", 0o600);
    try {
      await this.#transfer(({ incoming }) =>
        incoming.readTo((chunk) => {
          for (let done = 0; done < chunk.length;) {
            const written = writeSync(file.fd, chunk, done, chunk.length - done, position);
            done += written;
            if (position !== null) position += written;
          }
        })
      );
    } finally {
      await file.close();
    }
  }

  async #list(path: string, line: (name: string, file: Stats) => string, first: string): Promise<void> {
    const text = await list(await this.#folder.local(path), line, first);
    await this.#transfer(({ socket }) => send(Readable.from([text]), socket));
  }

  /** Answers 150 before TLS is negotiated, as clients expect, and 226 only when all is done. */
  async #transfer(run: (data: DataConnection) => Promise<void>): Promise<void> {
    if (!this.isProtected) throw new Reply(521, "Say PROT P first.");
    await using channel = this.#channel;
    this.#channel = channel;
    if (channel === undefined) throw new Reply(425, "Say EPSV or PASV first.");
    this.#say(150, "Go ahead.");
    try {
      await run(await channel.accept());
    } finally {
      this.#channel = undefined;
    }
    this.#say(226, "Done.");
  }
}

/** RFC 959 appendix II. */
function quoted(path: string): string {
  return `"${path.replaceAll('"', '""')}"`;
}
