/**
 * Cuts a client's byte stream into the messages of PostgreSQL's protocol 3.0 (manual, "Message Formats"): a type byte, except for the first message,
 * then a length that counts itself but not the type.
 */
export class MessageFramer {
  #rest: Uint8Array = new Uint8Array();
  #started = false;

  /** The first message has passed: from now on each begins with its type. */
  start(): void {
    this.#started = true;
  }

  /** Takes bytes in. */
  push(chunk: Uint8Array): void {
    this.#rest = this.#rest.length === 0 ? chunk.slice() : concat([this.#rest, chunk]);
  }

  /** The next whole message; `undefined` if it is not there yet. @throws {RangeError} If a length makes no sense. */
  next(): Uint8Array | undefined {
    const at = this.#started ? 1 : 0;
    if (this.#rest.length < at + 4) return undefined;
    const length = new DataView(this.#rest.buffer, this.#rest.byteOffset).getInt32(at);
    if (length < 4) throw new RangeError(`Cannot read a protocol message of ${length} bytes`);
    if (this.#rest.length < at + length) return undefined;
    const message = this.#rest.subarray(0, at + length);
    this.#rest = this.#rest.subarray(at + length);
    return message;
  }
}

/** A message with a type and a body. */
export function frame(type: string, body: Uint8Array = new Uint8Array()): Uint8Array {
  const message = new Uint8Array(5 + body.length);
  message[0] = type.charCodeAt(0);
  new DataView(message.buffer).setInt32(1, 4 + body.length);
  message.set(body, 5);
  return message;
}

/** All parts in one. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** ReadyForQuery with the status "idle": no transaction is open. */
const IDLE = frame("Z", Uint8Array.of("I".charCodeAt(0)));

/** Whether a server's answer ends with "ready, no transaction open". It is the last message, so no data can look like it. */
export function endsIdle(tail: Uint8Array): boolean {
  return tail.length >= IDLE.length && IDLE.every((byte, at) => tail.at(at - IDLE.length) === byte);
}

/** The last bytes of an answer that came in pieces, enough for {@linkcode endsIdle}. */
export function tailOf(tail: Uint8Array, piece: Uint8Array): Uint8Array {
  return (piece.length >= IDLE.length ? piece : concat([tail, piece])).slice(-IDLE.length);
}
