import type { Encodable } from "./column_values.ts";

/** Longer texts are left out: readers gain nothing by them. */
const MAX_TEXT_BYTES = 256;

/** The least and the greatest value, as Parquet's statistics hold them: plainly encoded, without a text's length. */
export interface Bounds {
  /** The least. */
  readonly min: Uint8Array;
  /** The greatest. */
  readonly max: Uint8Array;
}

/**
 * Finds the least and the greatest value in the order that Parquet defines for their type.
 *
 * @param values Of one type, without nulls. Strings are ordered as their UTF-8.
 * @param encode Encodes one.
 * @returns Both; `undefined` if there is no value, or one is a long text.
 */
export function boundsOf(values: readonly Encodable[], encode: (value: Encodable) => Uint8Array): Bounds | undefined {
  let [min] = values;
  if (min === undefined) return undefined;
  let max = min;
  const isLess = typeof min === "string" ? isLessText : (a: Encodable, b: Encodable) => a < b;
  for (const value of values) {
    if (isLess(value, min)) min = value;
    else if (isLess(max, value)) max = value;
  }
  // Both zeros are equal but not the same: the least must not be above one, nor the greatest below.
  if (min === 0) min = -0;
  if (max === 0) max = 0;
  const bounds = { min: encode(min), max: encode(max) };
  return Math.max(bounds.min.length, bounds.max.length) > MAX_TEXT_BYTES ? undefined : bounds;
}

/** UTF-16 orders surrogates before U+E000 to U+FFFF, UTF-8 after them. */
function isLessText(a: Encodable, b: Encodable): boolean {
  if (typeof a !== "string" || typeof b !== "string") return false;
  const length = Math.min(a.length, b.length);
  let at = 0;
  while (at < length && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  if (at === length) return a.length < b.length;
  return rank(a.charCodeAt(at)) < rank(b.charCodeAt(at));
}

function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
