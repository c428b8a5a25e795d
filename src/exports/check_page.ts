import { deltaBinaryUnpack } from "hyparquet/delta";
import { type Cursor, readVarint } from "./check_thrift.ts";

/** Values of a page, and how they are written. */
export interface PageValues {
  /** Parquet's name of the encoding. */
  readonly encoding: string;
  /** Parquet's physical type. */
  readonly type: string;
  /** How many there are, without nulls. */
  readonly count: number;
  /** How many the column's dictionary has; `undefined` if it has none. */
  readonly dictionary: number | undefined;
  /** Of data pages. */
  readonly version: 1 | 2;
}

/** Writers fill the last bit-packed run up to a group of eight, some up to a longer one. */
const SPARE = 512;

/**
 * Goes through runs of the RLE and bit-packed hybrid. A damaged run makes hyparquet fill the memory, or count for ever.
 *
 * @param cursor Where they begin; stands behind them afterwards.
 * @param width Bits of a value.
 * @param count How many values there must be.
 * @returns How many of them are 1.
 * @throws {RangeError} If there are fewer, or a run is too long.
 */
export function checkRuns(cursor: Cursor, width: number, count: number): number {
  if (width > 32) throw new RangeError("Values of more than 32 bits");
  let [seen, ones] = [0, 0];
  while (seen < count) {
    const header = readVarint(cursor);
    const run = Math.floor(header / 2);
    if (header % 2 === 0) {
      if (run === 0 || run > count - seen) throw new RangeError("Wrong run");
      if (width > 0 && cursor.bytes[cursor.offset] === 1) ones += run;
      cursor.offset += Math.ceil(width / 8);
      seen += run;
    } else {
      if (run === 0 || run * 8 > count - seen + SPARE) throw new RangeError("Wrong run");
      if (width === 1) ones += onesIn(cursor, Math.min(run * 8, count - seen));
      cursor.offset += run * width;
      seen += run * 8;
    }
    if (cursor.offset > cursor.bytes.length) throw new RangeError("Runs end early");
  }
  return ones;
}

function onesIn({ bytes, offset }: Cursor, bits: number): number {
  let ones = 0;
  for (let bit = 0; bit < bits; bit++) ones += ((bytes[offset + (bit >> 3)] ?? 0) >> (bit & 7)) & 1;
  return ones;
}

/**
 * Checks the values of a page before they are decoded, so far as damage would not be noticed then: it would never end, or give wrong values.
 *
 * @param cursor Where they begin, to the end of the page.
 * @param values What they must be.
 * @throws {RangeError} If they are not.
 */
export function checkValues(cursor: Cursor, { encoding, type, count, dictionary, version }: PageValues): void {
  if (count === 0) return;
  if (encoding === "PLAIN" && type === "BYTE_ARRAY") checkTexts(cursor, count);
  else if (encoding.endsWith("_DICTIONARY")) {
    if (!dictionary) throw new RangeError("No dictionary");
    const width = cursor.bytes[cursor.offset++] ?? 255;
    // hyparquet reads no runs of indices without bits, but in version 2.
    if (width > 0 || version === 2) checkRuns(cursor, width, count);
  } else if (encoding === "RLE") {
    cursor.offset += 4;
    checkRuns(cursor, 1, count);
  } else if (encoding === "DELTA_BINARY_PACKED") checkDelta(cursor, count);
  else if (encoding === "DELTA_LENGTH_BYTE_ARRAY") {
    const lengths = unpack(cursor, count);
    checkEnd(cursor, lengths.reduce((sum, length) => length < 0 ? NaN : sum + length, 0));
  } else if (encoding === "DELTA_BYTE_ARRAY") {
    const [prefixes, suffixes] = [unpack(cursor, count), unpack(cursor, count)];
    let previous = 0;
    let total = 0;
    for (const [i, suffix] of suffixes.entries()) {
      const prefix = prefixes[i] ?? 0;
      if (prefix < 0 || prefix > previous || suffix < 0) throw new RangeError("Wrong prefix");
      previous = prefix + suffix;
      total += suffix;
    }
    checkEnd(cursor, total);
  }
}

function checkEnd({ bytes, offset }: Cursor, rest: number): void {
  if (offset + rest !== bytes.length) throw new RangeError("Texts do not fill their page");
}

function checkTexts({ bytes, offset }: Cursor, count: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < count; i++) offset += 4 + view.getUint32(offset, true);
  checkEnd({ bytes, offset }, 0);
}

/** Goes through the blocks of delta-packed numbers. */
function checkDelta(cursor: Cursor, count: number): void {
  const [blockSize, miniblocks, total] = [readVarint(cursor), readVarint(cursor), readVarint(cursor)];
  const size = blockSize / miniblocks;
  if (!(size >= 8 && size % 8 === 0 && blockSize <= 1 << 20) || total !== count) throw new RangeError("Wrong block");
  readVarint(cursor);
  for (let seen = 1; seen < count;) {
    readVarint(cursor);
    const widths = cursor.bytes.subarray(cursor.offset, cursor.offset += miniblocks);
    for (const width of widths) {
      if (seen >= count) break;
      if (width > 64) throw new RangeError("Values of more than 64 bits");
      cursor.offset += size * width / 8;
      seen += size;
    }
    if (cursor.offset > cursor.bytes.length) throw new RangeError("Block ends early");
  }
}

function unpack(cursor: Cursor, count: number): Int32Array {
  const { bytes, offset } = cursor;
  checkDelta(cursor, count);
  const numbers = new Int32Array(count);
  deltaBinaryUnpack({ view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset }, count, numbers);
  return numbers;
}
