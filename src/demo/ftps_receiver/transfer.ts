import { once } from "node:events";
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Reply } from "./reply.ts";

/**
 * What comes in on a data connection. It is read from before TLS is negotiated and never paused: Deno 2.9 does not report the end of a TLS connection to
 * a server that was not reading when it came, and the transfer would stall.
 */
export class Incoming {
  readonly #early: Uint8Array[] = [];
  readonly #end: Promise<void>;
  #write = (chunk: Uint8Array): void => void this.#early.push(chunk);

  /** @param data The connection; nothing was read from it yet. */
  constructor(data: Socket) {
    this.#end = new Promise((resolve, reject) => {
      data.on("data", (chunk: Uint8Array) => {
        try {
          this.#write(chunk);
        } catch (error) {
          reject(error);
          data.destroy();
        }
      });
      data.once("end", resolve);
      data.once("error", reject);
      data.once("close", () => reject(new Reply(426, "Connection closed; transfer aborted.")));
    });
    this.#end.catch(() => {}); // the connection may be refused before anybody reads it
  }

  /** Reads to the end. @param write Takes each piece at once, so that nothing piles up. */
  async readTo(write: (chunk: Uint8Array) => void): Promise<void> {
    for (const chunk of this.#early.splice(0)) write(chunk);
    this.#write = write;
    await this.#end;
  }
}

/**
 * Writes a data connection and waits until the client has closed its end: a socket that is closed at once may lose what it has not sent yet.
 *
 * @param content What to send.
 * @param data The connection.
 */
export async function send(content: Readable, data: Socket): Promise<void> {
  const closed = once(data, "close");
  await pipeline(content, data);
  await closed;
}
