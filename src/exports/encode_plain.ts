import { Buffer } from "node:buffer";
import type { Encodable } from "./column_values.ts";

/** Bytes of a decimal of more than 18 digits. */
export const DECIMAL_BYTES = 16;

const WORD = 2 ** 32;
const encoder = new TextEncoder();

/**
 * Encodes values in Parquet's PLAIN encoding. parquetjs' own makes a buffer of each text and a bigint of each number.
 *
 * @param type Parquet's physical type.
 * @param values The values; of FIXED_LEN_BYTE_ARRAY, unscaled decimals.
 * @returns Their bytes.
 */
export function encodePlain(type: string, values: readonly Encodable[]): Buffer {
  if (type === "BYTE_ARRAY") return encodeTexts(values);
  if (type === "BOOLEAN") return encodeBits(values);
  const width = type === "FIXED_LEN_BYTE_ARRAY" ? DECIMAL_BYTES : type === "INT32" ? 4 : 8;
  const buffer = Buffer.alloc(values.length * width);
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  let offset = 0;
  for (const value of values) {
    if (type === "INT32") view.setInt32(offset, Number(value), true);
    else if (type === "DOUBLE") view.setFloat64(offset, Number(value), true);
    else if (type === "FIXED_LEN_BYTE_ARRAY") setDecimal(view, offset, BigInt(value));
    else if (typeof value === "number") {
      view.setInt32(offset, value % WORD, true);
      view.setInt32(offset + 4, Math.floor(value / WORD), true);
    } else view.setBigInt64(offset, BigInt(value), true);
    offset += width;
  }
  return buffer;
}

/** Big-endian two's complement. */
function setDecimal(view: DataView, offset: number, value: bigint): void {
  view.setBigInt64(offset, value >> 64n);
  view.setBigUint64(offset + 8, BigInt.asUintN(64, value));
}

function encodeBits(values: readonly Encodable[]): Buffer {
  const buffer = Buffer.alloc(Math.ceil(values.length / 8));
  for (const [i, value] of values.entries()) {
    if (value === true) buffer[i >> 3] = (buffer[i >> 3] ?? 0) | (1 << (i & 7));
  }
  return buffer;
}

/** Each text in UTF-8 behind its length. */
function encodeTexts(values: readonly Encodable[]): Buffer {
  const units = values.reduce<number>((sum, value) => sum + GAP.length + String(value).length, 0);
  if (units === 0 || units > MAX_JOINED) return encodeEach(values);
  // Most are ASCII, of which one call encodes all, each behind four bytes for its length.
  const bytes = encoder.encode(GAP + values.join(GAP));
  return bytes.length === units ? putLengths(bytes, values) : encodeEach(values);
}

/** Four characters that are as many bytes. */
const GAP = "\0".repeat(4);
/** Longer texts are not joined, in UTF-16 units: V8 has a limit at twice this. */
const MAX_JOINED = 2 ** 28;

function putLengths(bytes: Uint8Array, values: readonly Encodable[]): Buffer {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let offset = 0;
  for (const value of values) {
    const { length } = String(value);
    view.setUint32(offset, length, true);
    offset += GAP.length + length;
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Most have about a byte for each UTF-16 unit, none more than three. */
function encodeEach(values: readonly Encodable[], bytesPerUnit = 1.25): Buffer {
  let room = 0;
  for (const value of values) room += 4 + Math.ceil(bytesPerUnit * String(value).length);
  const bytes = new Uint8Array(room);
  const view = new DataView(bytes.buffer);
  let offset = 0;
  for (const value of values) {
    const text = String(value);
    if (offset + 4 > room) return encodeEach(values, 3);
    const { read, written } = encoder.encodeInto(text, bytes.subarray(offset + 4));
    if (read < text.length) return encodeEach(values, 3);
    view.setUint32(offset, written, true);
    offset += 4 + written;
  }
  return Buffer.from(bytes.buffer, 0, offset);
}
