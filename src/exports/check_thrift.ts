/** What reads forward through bytes. */
export interface Cursor {
  /** The bytes. */
  readonly bytes: Uint8Array;
  /** Where the next one is. */
  offset: number;
}

/** Most levels of structs and lists; Parquet's metadata has less than ten. */
const MAX_DEPTH = 40;

/**
 * Reads a number as Thrift and Parquet write it, ULEB128.
 *
 * @param cursor Where it is; stands behind it afterwards.
 * @returns The number, exact up to 2^53.
 * @throws {RangeError} If it does not end, or has more than 64 bits.
 */
export function readVarint(cursor: Cursor): number {
  let value = 0;
  for (let i = 0; i < 10; i++) {
    const byte = cursor.bytes[cursor.offset++];
    if (byte === undefined) throw new RangeError("Number ends early");
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return value;
  }
  throw new RangeError("Number of more than 64 bits");
}

/**
 * Goes through a struct of Thrift's compact protocol, as Parquet's footer and page headers are. Whatever passes can be decoded in a time that goes with
 * its length; hyparquet itself would count through numbers without end.
 *
 * @param cursor Where it is; stands behind it afterwards.
 * @throws {RangeError} If it is none, or does not end in time.
 */
export function checkThrift(cursor: Cursor): void {
  checkStruct(cursor, 0);
}

function checkStruct(cursor: Cursor, depth: number): void {
  if (depth > MAX_DEPTH) throw new RangeError("Nested too deeply");
  for (let head = byteAt(cursor); (head & 0x0f) !== 0; head = byteAt(cursor)) {
    if (head >> 4 === 0) readVarint(cursor);
    checkElement(cursor, head & 0x0f, depth);
  }
}

function checkElement(cursor: Cursor, type: number, depth: number): void {
  if (type === 1 || type === 2) return;
  if (type === 3) byteAt(cursor);
  else if (type >= 4 && type <= 6) readVarint(cursor);
  else if (type === 7) skip(cursor, 8);
  else if (type === 8) skip(cursor, readVarint(cursor));
  else if (type === 9) checkList(cursor, depth + 1);
  else if (type === 12) checkStruct(cursor, depth + 1);
  else throw new RangeError("Unknown type");
}

function checkList(cursor: Cursor, depth: number): void {
  const head = byteAt(cursor);
  const size = head >> 4 === 15 ? readVarint(cursor) : head >> 4;
  if (size > cursor.bytes.length - cursor.offset) throw new RangeError("List longer than its bytes");
  const type = head & 0x0f;
  for (let i = 0; i < size; i++) checkElement(cursor, type === 1 || type === 2 ? 3 : type, depth);
}

function byteAt(cursor: Cursor): number {
  const byte = cursor.bytes[cursor.offset++];
  if (byte === undefined) throw new RangeError("Struct ends early");
  return byte;
}

function skip(cursor: Cursor, count: number): void {
  cursor.offset += count;
  if (cursor.offset > cursor.bytes.length) throw new RangeError("Struct ends early");
}
