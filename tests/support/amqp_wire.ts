/** The end of every frame of AMQP 0-9-1. */
const FRAME_END = 0xce;

/** A frame. @param type 1 method, 2 header, 3 body, 8 heartbeat. */
export function frameOf(type: number, channel: number, payload: Uint8Array): Uint8Array {
  return concat([Uint8Array.of(type), short(channel), int(payload.length), payload, Uint8Array.of(FRAME_END)]);
}

/** The message id in the payload of a content header; properties come in the order of their flags, from the highest bit. */
export function messageIdOf(payload: DataView): string {
  const flags = payload.getUint16(12);
  let at = 14;
  const has = (bit: number) => (flags & (1 << bit)) !== 0;
  const skipText = (bit: number) => at += has(bit) ? 1 + payload.getUint8(at) : 0;
  skipText(15); // content-type
  skipText(14); // content-encoding
  if (has(13)) at += 4 + payload.getUint32(at); // headers
  at += Number(has(12)) + Number(has(11)); // delivery-mode, priority
  skipText(10); // correlation-id
  skipText(9); // reply-to
  skipText(8); // expiration
  if (!has(7)) return "";
  const length = payload.getUint8(at);
  return new TextDecoder().decode(new Uint8Array(payload.buffer, payload.byteOffset + at + 1, length));
}

/** 16 bits. */
export function short(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value);
}

/** 32 bits. */
export function int(value: number): Uint8Array {
  return Uint8Array.of(value >> 24, value >> 16, value >> 8, value);
}

/** 64 bits. */
export function long(value: number): Uint8Array {
  return concat([int(Math.floor(value / 2 ** 32)), int(value % 2 ** 32)]);
}

/** At most 255 bytes. */
export function text(value: string): Uint8Array {
  const bytes = new TextEncoder().encode(value);
  return concat([Uint8Array.of(bytes.length), bytes]);
}

/** Any number of bytes. */
export function longText(value: string): Uint8Array {
  const bytes = new TextEncoder().encode(value);
  return concat([int(bytes.length), bytes]);
}

/** One after the other. */
export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
