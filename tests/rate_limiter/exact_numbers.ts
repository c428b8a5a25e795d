/** Exact arithmetic to judge the bucket's by: every finite double is a whole number of 2^-1074ths. */
const SCALE = 1_074n;

/** A double as a whole number of 2^-1074ths. */
export function exact(value: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const exponent = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & ((1n << 52n) - 1n);
  const magnitude = exponent === 0 ? fraction : (fraction | (1n << 52n)) << BigInt(exponent - 1);
  return bits >> 63n === 1n ? -magnitude : magnitude;
}

/** The product of two such numbers, as one. */
export function times(a: bigint, b: bigint): bigint {
  return (a * b) >> SCALE;
}

/** The nearest double. */
export function toNumber(value: bigint): number {
  const digits = value.toString(2).replace("-", "").length;
  const shift = BigInt(Math.max(0, digits - 64));
  return Number(value >> shift) * 2 ** (Number(shift) - Number(SCALE));
}
