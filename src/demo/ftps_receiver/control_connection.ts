import { timingSafeEqual } from "node:crypto";
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { delay } from "@std/async";
import { FileCommands } from "./file_commands.ts";
import { Reply } from "./reply.ts";
import { secured } from "./secure.ts";
import type { Session } from "./session.ts";

const MAX_LINE_BYTES = 8 * 1024;
const IDLE_MS = 300_000;
const MAX_WRONG_PASSWORDS = 3;
const WRONG_PASSWORD_MS = 200;

/** Reads commands line by line, lets nobody in without TLS and password, and answers. Commands are carried out one after another. */
export class ControlConnection {
  /** Resolves when the connection is gone. */
  readonly closed: Promise<void>;
  readonly #session: Session;
  readonly #files: FileCommands;
  #socket: Socket;
  #encrypted: boolean;
  #pending = Buffer.alloc(0);
  readonly #lines: string[] = [];
  #work: Promise<void> | undefined;
  #user = "";
  #loggedIn = false;
  #wrongPasswords = 0;

  /** @param socket With TLS already where the mode is implicit. @param session What is shared by all connections. */
  constructor(socket: Socket, session: Session & { readonly encrypted: boolean }) {
    this.#session = session;
    this.#encrypted = session.encrypted;
    this.#socket = socket;
    this.#files = new FileCommands(session, socket, (code, text) => this.#say(code, text));
    this.closed = new Promise((resolve) => socket.once("close", resolve));
    this.closed.then(() => this.#files.abort());
    this.#attach(socket);
    this.#say(220, "Ready.");
  }

  /** Ends the connection and what is going on. */
  async close(): Promise<void> {
    this.#files.abort();
    this.#socket.destroy();
    await this.closed;
    await this.#work;
  }

  #attach(socket: Socket): void {
    socket.on("error", () => socket.destroy());
    socket.setTimeout(IDLE_MS, () => {
      this.#say(421, "Idle for too long.");
      socket.destroy();
    });
    socket.on("data", (chunk: Uint8Array) => this.#receive(chunk));
  }

  #receive(chunk: Uint8Array): void {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    for (let end = this.#pending.indexOf(10); end >= 0; end = this.#pending.indexOf(10)) {
      const line = this.#pending.subarray(0, end).toString("utf8").replace(/\r$/, "");
      this.#pending = this.#pending.subarray(end + 1);
      if (end > MAX_LINE_BYTES) return this.#refuseLine();
      if (/^ABOR\s*$/i.test(line)) this.#files.abort(); // must not wait for the transfer that it ends
      this.#lines.push(line);
    }
    if (this.#pending.length > MAX_LINE_BYTES) return this.#refuseLine();
    this.#work ??= this.#carryOutAll();
  }

  #refuseLine(): void {
    this.#say(500, "Line too long.");
    this.#socket.destroy();
  }

  async #carryOutAll(): Promise<void> {
    for (let line = this.#lines.shift(); line !== undefined; line = this.#lines.shift()) await this.#carryOut(line);
    this.#work = undefined;
  }

  async #carryOut(line: string): Promise<void> {
    if (this.#socket.destroyed) return;
    const [, name = "", argument = ""] = /^(\w+)(?: (.*))?$/s.exec(line) ?? [];
    try {
      await this.#dispatch(name.toUpperCase(), argument);
    } catch (error) {
      const { code, text } = Reply.from(error);
      this.#say(code, text);
    }
  }

  async #dispatch(command: string, argument: string): Promise<void> {
    switch (command) {
      case "QUIT":
        this.#say(221, "Goodbye.");
        this.#socket.end();
        return;
      case "NOOP":
      case "ABOR":
        return this.#say(command === "ABOR" ? 226 : 200, "Done.");
      case "SYST":
        return this.#say(215, "UNIX Type: L8");
      case "FEAT":
        return this.#features();
      case "AUTH":
        return this.#authenticate(argument);
    }
    if (!this.#encrypted) throw new Reply(530, "Say AUTH TLS first.");
    switch (command) {
      case "PBSZ":
        return this.#say(200, "PBSZ=0");
      case "PROT":
        if (argument.toUpperCase() !== "P") throw new Reply(536, "Only PROT P.");
        this.#files.isProtected = true;
        return this.#say(200, "Data connections are protected.");
      case "OPTS":
        return this.#say(200, "Noted.");
      case "USER":
        this.#user = argument;
        this.#loggedIn = false;
        return this.#say(331, "Password please.");
      case "PASS":
        return await this.#logIn(argument);
    }
    if (!this.#loggedIn) throw new Reply(530, "Log in first.");
    await this.#files.carryOut(command, argument);
  }

  /** RFC 4217 section 4. What was sent ahead in clear is dropped, or it would count as sent under TLS. */
  #authenticate(mechanism: string): void {
    if (this.#encrypted) throw new Reply(503, "TLS already.");
    if (!/^(TLS|TLS-C|SSL)$/i.test(mechanism)) throw new Reply(504, "Only AUTH TLS.");
    const plain = this.#socket;
    plain.removeAllListeners("data");
    plain.pause(); // or Deno may take the client's first bytes away from the TLS layer
    plain.setTimeout(0);
    this.#say(234, "Go ahead.");
    this.#pending = Buffer.alloc(0);
    this.#lines.length = 0;
    this.#encrypted = true;
    this.#socket = secured(plain, this.#session.context);
    this.#attach(this.#socket);
  }

  async #logIn(password: string): Promise<void> {
    this.#loggedIn = equal(this.#user, this.#session.user) && equal(password, this.#session.password);
    if (this.#loggedIn) return this.#say(230, "Welcome.");
    await delay(WRONG_PASSWORD_MS);
    this.#say(530, "Login incorrect.");
    if (++this.#wrongPasswords >= MAX_WRONG_PASSWORDS) this.#socket.end();
  }

  #features(): void {
    const features = [
      "AUTH TLS",
      "EPSV",
      "MDTM",
      "MLST type*;size*;modify*;",
      "PASV",
      "PBSZ",
      "PROT",
      "REST STREAM",
      "SIZE",
    ];
    const lines = [...features, "TVFS", "UTF8", "XSHA256"].map((feature) => ` ${feature}\r\n`);
    this.#write(`211-Features:\r\n${lines.join("")}211 End\r\n`);
  }

  #say(code: number, text: string): void {
    this.#write(`${code} ${text}\r\n`);
  }

  #write(text: string): void {
    if (this.#socket.writable) this.#socket.write(text);
  }
}

/** Takes as long whether the texts begin alike or not. */
function equal(given: string, wanted: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(wanted)];
  return a.length === b.length && timingSafeEqual(a, b);
}
