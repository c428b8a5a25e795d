/** Classes whose content is their text, as far as equality goes. */
const WRITTEN: ReadonlySet<unknown> = new Set([RegExp, URL, URLSearchParams, Intl.Locale].map((type) => type.prototype));
const TypedArray = Object.getPrototypeOf(Uint8Array);

type Properties = Record<PropertyKey, unknown>;

/**
 * Deep equality: 0 is -0, NaN is NaN, `undefined` is not a missing property, order matters in neither sets nor maps, plain objects are equal with
 * and without a prototype, other objects only with the same one, functions only if identical. Errors and other instances are compared by all
 * their properties and getters, which for an error are its stack too.
 */
export function equal(a: unknown, b: unknown, seen: Map<unknown, unknown> = new Map()): boolean {
  if (a === b || Object.is(a, b)) return true;
  if (!isObject(a) || !isObject(b)) return false;
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
  const prototype = prototypeOf(a);
  if (prototype !== prototypeOf(b)) return false;
  if (a instanceof TypedArray) return equalItems(a, b);
  if (a instanceof ArrayBuffer || a instanceof SharedArrayBuffer) return equalItems(bytes(a), bytes(b));
  if (a instanceof WeakMap || a instanceof WeakSet) throw new TypeError(`Cannot compare ${a.constructor.name} instances`);
  if (a instanceof WeakRef && b instanceof WeakRef) return equal(a.deref(), b.deref(), seen);
  // Met again inside itself: equal, as far as this path goes.
  if (seen.get(a) === b) return true;
  if (Object.keys(a).length !== Object.keys(b).length) return false;
  seen.set(a, b);
  if (a instanceof Set && b instanceof Set) return equalEntries(new Map(a.entries()), new Map(b.entries()), seen);
  if (a instanceof Map && b instanceof Map) return equalEntries(a, b, seen);
  if (WRITTEN.has(prototype)) return String(a) === String(b);
  const keys = new Set([...keysOf(a), ...keysOf(b)]);
  return keys.values().every((key) => key in a && key in b && equal(a[key], b[key], seen));
}
