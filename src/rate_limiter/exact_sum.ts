/**
 * Sums and products that lose nothing: the rounded result, and what was rounded off (T. J. Dekker, "A floating-point technique for extending the
 * available precision", Numerische Mathematik 18, 1971; D. E. Knuth, The Art of Computer Programming 2, 4.2.2).
 *
 * @module
 */

/** `sum + rest` is `a + b` exactly. */
export function add(a: number, b: number): { readonly sum: number; readonly rest: number } {
  const sum = a + b;
  const bPart = sum - a;
  return { sum, rest: (a - (sum - bPart)) + (b - bPart) };
}

/** `product + rest` is `a × b` exactly, for factors below 2^996; beyond, where its parts overflow, `rest` is 0. */
export function multiply(a: number, b: number): { readonly product: number; readonly rest: number } {
  const product = a * b;
  const [aHigh, aLow] = split(a);
  const [bHigh, bLow] = split(b);
  const rest = aLow * bLow - (((product - aHigh * bHigh) - aLow * bHigh) - aHigh * bLow);
  return { product, rest: Number.isFinite(rest) ? rest : 0 };
}

/** Two halves of at most 26 bits each. */
function split(a: number): readonly [high: number, low: number] {
  const shifted = a * (2 ** 27 + 1);
  const high = shifted - (shifted - a);
  return [high, a - high];
}
