import { Buffer } from "node:buffer";
import { Duplex } from "node:stream";
import { MessageFramer } from "./framing.ts";
import type { Hub, Member } from "./hub.ts";

/** Codes that stand in place of the protocol version in a first message. */
const SSL_REQUEST = 80_877_103;
const CANCEL_REQUEST = 80_877_102;

/** Messages after which a server answers; the ones before wait for it: Query, Sync, Flush, FunctionCall. */
const ANSWERED = new Set(["Q", "S", "H", "F"]);

/** One connection to the embedded database, in the shape of a socket. */
export class Wire extends Duplex implements Member {
  readonly #hub: Hub;
  readonly #framer = new MessageFramer();
  #started = false;
  #unit: Uint8Array[] = [];

  constructor(hub: Hub) {
    super();
    this.#hub = hub;
    this.once("close", () => hub.leave(this));
  }

  /** As `net.Socket` has it: postgres.js asks before it says goodbye. */
  get readyState(): "open" | "closed" {
    return this.destroyed ? "closed" : "open";
  }

  reply(piece: Uint8Array): void {
    // A copy: the piece is a view of WebAssembly memory that the next query overwrites.
    if (!this.destroyed) this.push(Buffer.from(piece));
  }

  fail(error: unknown): void {
    this.destroy(error instanceof Error ? error : new Error("The embedded database failed", { cause: error }));
  }

  override _read(): void {}

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    try {
      this.#framer.push(chunk);
      for (let message = this.#framer.next(); message !== undefined && !this.destroyed; message = this.#framer.next()) {
        if (this.#started) this.#take(message);
        else this.#greet(message);
      }
      done();
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  }

  override _final(done: () => void): void {
    done();
    this.destroy();
  }

  #greet(message: Uint8Array): void {
    const code = new DataView(message.buffer, message.byteOffset).getInt32(4);
    if (code === SSL_REQUEST) return this.reply(Uint8Array.of("N".charCodeAt(0)));
    if (code === CANCEL_REQUEST) {
      this.destroy();
      return;
    }
    this.#started = true;
    this.#framer.start();
    this.#hub.submit(this, [message]);
  }

  #take(message: Uint8Array): void {
    const type = String.fromCharCode(message[0] ?? 0);
    if (type === "X") {
      this.destroy();
      return;
    }
    this.#unit.push(message);
    if (!ANSWERED.has(type)) return;
    this.#hub.submit(this, this.#unit);
    this.#unit = [];
  }
}
