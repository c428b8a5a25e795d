import { Buffer } from "node:buffer";

/** Fewer equal levels are not worth a run of their own, which takes the runs beside it a head each too. */
const MIN_RUN = 16;

/**
 * Encodes repetition or definition levels in Parquet's RLE/bit-packing hybrid (Encodings.md of the format), without the length before it. parquetjs' own
 * joins a buffer for every run, over and over.
 *
 * @param levels The levels, each less than 2 to the power of `bitWidth`.
 * @param bitWidth Bits of a level, 1 to 8.
 * @returns The runs.
 */
export function encodeLevels(levels: readonly number[], bitWidth: number): Buffer {
  const bytes: number[] = [];
  /** Where the levels begin that are not in a run yet. */
  let open = 0;
  for (let at = 0; at < levels.length;) {
    let end = at + 1;
    while (levels[end] === levels[at]) end++;
    // Those before it are packed by eights, so that the first few of it may be taken to fill the last eight.
    const start = at + (8 - (at - open) % 8) % 8;
    if (end - start >= MIN_RUN) {
      if (start > open) pack(bytes, levels.slice(open, start), bitWidth);
      putVarint(bytes, (end - start) << 1);
      bytes.push(levels[at] ?? 0);
      open = end;
    }
    at = end;
  }
  if (levels.length > open) pack(bytes, levels.slice(open), bitWidth);
  return Buffer.from(bytes);
}

/** A run of levels, from the lowest bit on; the last eight are filled up with zeros. */
function pack(bytes: number[], levels: readonly number[], bitWidth: number): void {
  const eights = Math.ceil(levels.length / 8);
  putVarint(bytes, eights << 1 | 1);
  let bits = 0;
  let count = 0;
  for (let i = 0; i < eights * 8; i++) {
    bits |= (levels[i] ?? 0) << count;
    for (count += bitWidth; count >= 8; count -= 8) {
      bytes.push(bits & 255);
      bits >>= 8;
    }
  }
}

/** ULEB-128. */
function putVarint(bytes: number[], value: number): void {
  for (; value > 127; value >>>= 7) bytes.push(value & 127 | 128);
  bytes.push(value);
}
