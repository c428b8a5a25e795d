import { once } from "node:events";
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Reply } from "./reply.ts";

/**
 * Reads a data connection to its end.
 *
 * @param data The connection.
 * @param write Takes each piece at once: Deno 2.9 may never report the end of a TLS connection that was paused on the server's side, so this does not
 * pause it, and what is received must not pile up.
 */
export function receive(data: Socket, write: (chunk: Uint8Array) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    data.on("data", (chunk: Uint8Array) => {
      try {
        write(chunk);
      } catch (error) {
        reject(error);
        data.destroy();
      }
    });
    data.once("end", resolve);
    data.once("error", reject);
    data.once("close", () => reject(new Reply(426, "Connection closed; transfer aborted.")));
  });
}

/**
 * Writes a data connection and waits until the client has closed its end: a socket that is closed at once may lose what it has not sent yet.
 *
 * @param content What to send.
 * @param data The connection.
 */
export async function send(content: Readable, data: Socket): Promise<void> {
  const closed = once(data, "close");
  data.resume();
  await pipeline(content, data);
  await closed;
}
