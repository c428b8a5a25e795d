import { deadline } from "@std/async";
import { Client, FTPError, type FTPResponse } from "basic-ftp";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { Readable, Writable } from "node:stream";
import type { ConnectionOptions } from "node:tls";
import type { ChecksumKind } from "./checksum.ts";
import { UploadError } from "./errors.ts";
import type { checkFtpsOptions } from "./ftps_options.ts";
import { isPlainName } from "./remote_path.ts";
import { storeWhole } from "./store_whole.ts";
import { askTogether, refusalIn, sizeIn } from "./together.ts";
import { whenSecured } from "./when_secured.ts";

/** Slowest hashing of a server that is waited for, in bytes per millisecond. */
const HASH_BYTES_PER_MS = 10_000;

/** How long a server that has broken off a transfer is given to say why. */
const LAST_WORD_MS = 1_000;

/** A connection that is idle for so long is probed, in milliseconds. */
const KEEP_ALIVE_MS = 30_000;

/** How long a closing socket is waited for. */
const CLOSE_MS = 1_000;

/** A name that was looked at before a file is put there. */
export interface Outlook {
  /** Size in bytes of the file that has the name, `undefined` if there is none. */
  readonly bytes: number | undefined;
  /** What the server said to EPSV, if it was asked: {@linkcode FtpsConnection.store} need not ask again. */
  readonly passive: FTPResponse | undefined;
}

/** One login at an FTPS server. Errors are the client's own; see `asUploadError`. */
export class FtpsConnection {
  readonly #client: Client;
  readonly #timeoutMs: number;
  readonly #pipelining: boolean;
  #lostAnswers = false;
  #refusesEpsv = false;
  #features: ReadonlyMap<string, string> = new Map();
  /** Where it is, if known. */
  #folder: string | undefined;

  private constructor(client: Client, timeoutMs: number, pipelining: boolean) {
    this.#client = client;
    this.#timeoutMs = timeoutMs;
    this.#pipelining = pipelining;
  }

  /** Connects and logs in. @param options Checked. @param pipelining Whether commands may be sent together. @param signal Aborts it. */
  static async open(
    options: ReturnType<typeof checkFtpsOptions>,
    pipelining: boolean,
    signal?: AbortSignal,
  ): Promise<FtpsConnection> {
    const { host, port, user, password, timeoutMs, servername } = options;
    const connection = new FtpsConnection(new Client(timeoutMs), timeoutMs, pipelining);
    // Deno finds the session to resume by host and port of the control connection, so data connections must be told both. TLS 1.3 tickets serve once,
    // and proftpd gives none on data connections: the third file would fail. The object is new each time since the client writes into it.
    const secureOptions: ConnectionOptions = {
      host,
      port,
      minVersion: "TLSv1.2",
      maxVersion: "TLSv1.2",
      ...(servername === undefined ? {} : { servername }),
    };
    const secure = options.mode === "implicit" ? "implicit" : true;
    try {
      // The client has no time-out of its own while TLS is being negotiated after AUTH TLS.
      const access = connection.#client.access({ host, port, user, password, secure, secureOptions });
      await deadline(access, timeoutMs, signal ? { signal } : {});
      connection.#features = await deadline(connection.#client.features(), timeoutMs, signal ? { signal } : {});
      // A transfer may take longer than firewalls remember an idle control connection.
      connection.#client.ftp.socket.setKeepAlive(true, KEEP_ALIVE_MS);
      return connection;
    } catch (error) {
      await connection.#shut();
      throw error;
    }
  }

  /** Whether the connection is of no more use. */
  get closed(): boolean {
    return this.#client.closed;
  }

  /** Whether it was lost while several answers were due, as it is with a server that does not read commands that come together. */
  get lostAnswers(): boolean {
    return this.#lostAnswers;
  }

  /**
   * Changes into a folder, making those on the way that are missing.
   *
   * @param folder Absolute.
   * @returns Whether it was there already, as far as it knows: a round trip that a thousand small files need not make.
   */
  async enter(folder: string): Promise<boolean> {
    if (this.#folder === folder) return true;
    await this.#enter(folder);
    this.#folder = folder;
    return false;
  }

  /** Whether there is such a folder that the user may go into. @param folder Absolute. */
  async has(folder: string): Promise<boolean> {
    this.#folder = undefined;
    return await this.#change(folder) === undefined;
  }

  async #enter(folder: string): Promise<void> {
    if ((await this.#client.sendIgnoringError(`CWD ${folder}`)).code < 300) return;
    const names = folder.split("/").slice(1);
    for (let depth = 1; depth <= names.length; depth++) {
      // A refusal may only mean that the folder is there; if it means more, the last command shows it.
      await this.#client.sendIgnoringError(`MKD /${names.slice(0, depth).join("/")}`);
    }
    const refusal = await this.#change(folder);
    if (refusal !== undefined) throw notThere(folder, refusal);
  }

  /** Size in bytes of a file, `undefined` if it is not there. @param name Absolute, or in the folder; so everywhere. */
  async size(name: string): Promise<number | undefined> {
    try {
      return await this.#client.size(name);
    } catch (error) {
      if (error instanceof FTPError && error.code === 550) return undefined;
      throw error;
    }
  }

  /** As {@linkcode size}, and asks on the way for the data connection that {@linkcode store} will need if there is no such file. */
  async lookAhead(name: string): Promise<Outlook> {
    if (this.#refusesEpsv) return { bytes: await this.size(name), passive: undefined };
    const [size, passive] = await this.#together(`SIZE ${name}`, "EPSV");
    this.#refusesEpsv = passive?.code !== 229;
    return { bytes: sizeIn(size), passive };
  }

  /** As {@linkcode size} of two files at the same time. */
  async sizes(first: string, second: string): Promise<readonly [number | undefined, number | undefined]> {
    const [one, other] = await this.#together(`SIZE ${first}`, `SIZE ${second}`);
    return [sizeIn(one), sizeIn(other)];
  }

  /**
   * Renames a file. Servers replace a file that has the new name.
   *
   * @returns The size of what has the new name then.
   */
  async rename(from: string, to: string): Promise<number | undefined> {
    // Nothing may come between the first two: proftpd would refuse it. RNTO does nothing after an RNFR that was refused (503, RFC 959).
    const [renaming, renamed, size] = await this.#together(`RNFR ${from}`, `RNTO ${to}`, `SIZE ${to}`);
    const refusal = refusalIn(renaming) ?? refusalIn(renamed);
    if (refusal !== undefined) {
      this.#folder = undefined; // it may have been renamed
      throw refusal;
    }
    return sizeIn(size);
  }

  /** The server's own SHA-256 (hex) of a file, `undefined` if it offers none. @param bytes Size of the file: hashing takes time. */
  async sha256(name: string, bytes: number): Promise<string | undefined> {
    // draft-bryan-ftpext-hash. First, since proftpd's XSHA256 takes no names with blanks. The answer repeats the name, which may look like a hash.
    if (this.#features.get("HASH")?.includes("SHA-256")) {
      await this.#client.sendIgnoringError("OPTS HASH SHA-256");
      const reply = await this.#patiently(`HASH ${name}`, bytes);
      return /^213[ -]SHA-256 \d+-\d+ ([0-9a-f]{64})(\s|$)/im.exec(reply)?.[1]?.toLowerCase();
    }
    if (this.#features.has("XSHA256")) {
      const reply = await this.#patiently(`XSHA256 ${name}`, bytes);
      return /^250[ -]\s*"?([0-9a-f]{64})"?\s*$/im.exec(reply)?.[1]?.toLowerCase();
    }
    return undefined;
  }

  /** Whether {@linkcode sha256} is offered. */
  get hasSha256(): boolean {
    return this.#features.get("HASH")?.includes("SHA-256") === true || this.#features.has("XSHA256");
  }

  /** What the server offers in place of SHA-256, if anything. */
  get checksumKind(): ChecksumKind | undefined {
    if (this.hasSha256) return undefined;
    return this.#features.has("XMD5") ? "md5" : this.#features.has("XCRC") ? "crc32" : undefined;
  }

  /** The server's own checksum (hex) of a file, `undefined` if it gives none after all. @param bytes Size of the file. */
  async checksum(kind: ChecksumKind, name: string, bytes: number): Promise<string | undefined> {
    const [command, digits] = kind === "md5" ? ["XMD5", 32] : ["XCRC", 8];
    const reply = await this.#patiently(`${command} ${name}`, bytes);
    const hex = /^250[ -]\s*"?([0-9a-f]{1,32})"?\s*$/im.exec(reply)?.[1]?.toLowerCase().padStart(digits, "0");
    return hex?.length === digits ? hex : undefined;
  }

  /** Makes the next {@linkcode store} write from that offset on. @returns Whether the server can. */
  async restartAt(offset: number): Promise<boolean> {
    return (await this.#client.sendIgnoringError(`REST ${offset}`)).code === 350;
  }

  /**
   * Uploads. Resolves when the server has confirmed that it has everything.
   *
   * @param content All of a small file, or a stream.
   * @param name In the folder.
   * @param options `passive` of {@linkcode lookAhead}, if there was no transfer since; `onWritten`: called once all of a small file was handed to the connection.
   */
  async store(
    content: Readable | Uint8Array,
    name: string,
    { passive, onWritten }: { readonly passive?: FTPResponse | undefined; readonly onWritten?: () => void } = {},
  ): Promise<void> {
    const patience = this.#bearWithDataConnection(passive);
    try {
      if (content instanceof Readable) await this.#client.uploadFrom(content, name);
      else {
        await this.#client.prepareTransfer(this.#client.ftp);
        await storeWhole(this.#client.ftp, name, content, { timeoutMs: this.#timeoutMs, onWritten });
      }
    } catch (error) {
      this.#folder = undefined; // it may have been removed there
      if (error instanceof FTPError) throw error;
      throw await this.#lastWord() ?? error;
    } finally {
      patience.end();
      if (content instanceof Readable) content.destroy();
    }
  }

  /** Reads a file back. @returns Its SHA-256 in hex. */
  async retrieveSha256(name: string): Promise<string> {
    const hash = createHash("sha256");
    const sink = new Writable({
      highWaterMark: Number.MAX_SAFE_INTEGER, // hashes at once; and Deno 2.9 may lose the end of a TLS connection that was paused
      write(chunk: Uint8Array, _encoding, done) {
        hash.update(chunk);
        done();
      },
    });
    await this.#client.downloadTo(sink, name);
    return hash.digest("hex");
  }

  /**
   * Every file below a folder, however deep, by path below it; none if there is no such folder.
   *
   * @param base Absolute; must be there.
   * @param names The folder's names below that.
   */
  async list(base: string, names: readonly string[]): Promise<Map<string, number>> {
    const files = new Map<string, number>();
    this.#folder = undefined;
    // LIST with a path treats blanks and dashes differently from server to server; without one it cannot.
    const unusable = await this.#change(base);
    if (unusable !== undefined) throw notThere(base, unusable);
    let folder = base.replace(/\/+$/, "");
    for (const name of names) {
      folder += `/${name}`;
      const refusal = await this.#change(folder);
      if (refusal === undefined) continue;
      // 550 is said of what is missing and of what is denied: the folder above tells them apart.
      if (refusal.code !== 550 || (await this.#client.list()).some((entry) => entry.name === name)) throw refusal;
      return files;
    }
    const visit = async (below: string): Promise<void> => {
      for (const { name, size, isDirectory, isFile } of await this.#client.list()) {
        if (!isPlainName(name)) continue; // what a server says must not steer a command; we never send such a name
        if (isFile) files.set(`${below}${name}`, size);
        if (!isDirectory) continue;
        await this.#client.send(`CWD ${folder}/${below}${name}`);
        await visit(`${below}${name}/`);
      }
    };
    await visit("");
    return files;
  }

  /** Removes a file in the folder, if it is there. */
  async remove(name: string): Promise<void> {
    await this.#client.remove(name, true);
  }

  /** Ends whatever is going on: it rejects. */
  abort(): void {
    this.#client.close();
  }

  /** Says goodbye, ends TLS and waits until the socket is gone, for {@linkcode CLOSE_MS} each at most. Harmless if closed already. */
  async close(): Promise<void> {
    // Nothing depends on it but a tidy end.
    if (!this.closed) await deadline(this.#sayGoodbye(), CLOSE_MS).catch(() => {});
    await this.#shut();
  }

  /** The client's own goodbye destroys the socket at once: the server may never get it. */
  async #sayGoodbye(): Promise<void> {
    const { ftp } = this.#client;
    const { socket } = ftp;
    await ftp.handle("QUIT", (reply, task) => {
      if (reply instanceof Error) task.reject(reply);
      else task.resolve(undefined);
    });
    if (socket.destroyed) return;
    // The client would destroy it when the server ends, and TLS would not be ended (close_notify).
    socket.removeAllListeners();
    socket.end();
    await once(socket.resume(), "close");
  }

  /** Closes without a goodbye that is waited for. */
  async #shut(): Promise<void> {
    const { socket } = this.#client.ftp;
    this.#client.close();
    if (!socket.closed) await deadline(once(socket, "close"), CLOSE_MS).catch(() => {});
  }

  /**
   * A server that refuses a transfer (no permission, no space) breaks the data connection off, and that may be noticed before its reply, the only
   * thing that says why. The client would close at once; this makes it wait. It would also send into a connection that is gone before the server says
   * "go ahead", which in Deno 2.9 ends with a TypeError and a timer that stays; and into one whose other end was not verified yet, since it takes Deno's
   * `getCipher()`, which is null then and not undefined, for the end of the handshake.
   *
   * @param passive The answer to EPSV, which then is not sent.
   */
  #bearWithDataConnection(passive?: FTPResponse): { end(): void } {
    const { ftp } = this.#client;
    const { closeWithError: close, handle } = ftp;
    let timer: ReturnType<typeof setTimeout> | undefined;
    ftp.closeWithError = (error) => {
      if (!/^(?!Timeout).*\(data socket\)$/.test(error.message)) close.call(ftp, error);
      else timer ??= setTimeout(() => close.call(ftp, error), LAST_WORD_MS);
    };
    ftp.handle = (command, respond) => {
      if (command === "EPSV" && passive?.code === 229 && !ftp.closed) return Promise.resolve(passive);
      return handle.call(ftp, command, (reply, task) => {
        const isGoing = !(reply instanceof Error) && (reply.code === 125 || reply.code === 150);
        if (isGoing) whenSecured(ftp.dataSocket, (error) => respond(error ?? reply, task));
        else respond(reply, task);
      });
    };
    return {
      end() {
        clearTimeout(timer);
        [ftp.closeWithError, ftp.handle] = [close, handle];
      },
    };
  }

  /** The reply to a transfer that has failed on the data connection; closes if there is none, since it could be taken for another command's. */
  async #lastWord(): Promise<FTPError | undefined> {
    if (this.closed) return undefined;
    const reply: Promise<unknown> = this.#client.ftp.handle(undefined, (reply, task) => {
      if (reply instanceof Error) task.reject(reply);
      else task.resolve(reply);
    });
    const refusal = await deadline(reply, LAST_WORD_MS).catch((error: unknown) => error);
    if (refusal instanceof FTPError) return refusal;
    this.abort();
    return undefined;
  }

  /** Sends commands together if the server bears it. @returns The answers, refusals too, in this order. */
  async #together(...commands: readonly string[]): Promise<FTPResponse[]> {
    if (!this.#pipelining || this.closed) {
      const replies: FTPResponse[] = [];
      for (const command of commands) replies.push(await this.#client.sendIgnoringError(command));
      return replies;
    }
    try {
      return await askTogether(this.#client.ftp, commands);
    } catch (error) {
      this.#lostAnswers = true;
      throw error;
    }
  }

  /** @returns The refusal, if it is one. */
  async #change(folder: string): Promise<FTPError | undefined> {
    try {
      await this.#client.send(`CWD ${folder}`);
      return undefined;
    } catch (error) {
      if (error instanceof FTPError) return error;
      throw error;
    }
  }

  async #patiently(command: string, bytes: number): Promise<string> {
    const reply = this.#client.sendIgnoringError(command);
    this.#client.ftp.socket.setTimeout(this.#timeoutMs + bytes / HASH_BYTES_PER_MS);
    return (await reply).message;
  }
}

/** What a refused CWD means: 550 is said of what is missing, cannot be made, and is denied. */
function notThere(folder: string, refusal: FTPError): Error {
  if (refusal.code !== 550) return refusal;
  const reason =
    `Cannot use the folder '${folder}' there: check the base folder, and that the user may go into it and make folders`;
  return new UploadError("permission-denied", reason, { cause: refusal });
}
