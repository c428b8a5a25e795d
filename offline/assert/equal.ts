import { isAnyArrayBuffer } from "node:util/types";

/** Classes whose instances are equal if their texts are. */
const WRITTEN = new Set<unknown>([RegExp, URL, URLSearchParams, Intl.Locale].map((type) => type.prototype));
const PLAIN = new Set<unknown>([Object.prototype, Array.prototype, null]);
const Typed: typeof Float64Array = Object.getPrototypeOf(Float64Array);

type Properties = Record<PropertyKey, unknown>;
/** Those met on the way are taken as equal, so that a circle ends. */
type Pairs = Map<unknown, unknown>;

/**
 * Deep equality: 0 is -0, NaN is NaN, a property that is `undefined` is not a missing one, sets and maps have no order. Plain objects are equal with
 * and without a prototype, others only with the same one and by all their properties and getters (an error: its stack too); functions never.
 */
export function equal(a: unknown, b: unknown, seen: Pairs = new Map()): boolean {
  if (a === b || Object.is(a, b)) return true;
  if (!isObject(a) || !isObject(b)) return false;
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
  if (prototypeOf(a) !== prototypeOf(b)) return false;
  if (a instanceof Typed && b instanceof Typed) return a.length === b.length && a.every((n, i) => equal(n, b[i], seen));
  if (isAnyArrayBuffer(a) && isAnyArrayBuffer(b)) return equal(new Uint8Array(a), new Uint8Array(b));
  if (a instanceof WeakRef && b instanceof WeakRef) return equal(a.deref(), b.deref(), seen);
  if (a instanceof WeakMap || a instanceof WeakSet) throw new TypeError("Cannot compare what cannot be listed");
  if (seen.get(a) === b) return true;
  seen.set(a, b);
  const same = Object.keys(a).length === Object.keys(b).length && sameContent(a, b, seen);
  if (!same) seen.delete(a);
  return same;
}

function sameContent(a: Properties, b: Properties, seen: Pairs): boolean {
  if (a instanceof Set && b instanceof Set) return sameEntries(new Map(a.entries()), new Map(b.entries()), seen);
  if (a instanceof Map && b instanceof Map) return sameEntries(a, b, seen);
  if (WRITTEN.has(prototypeOf(a))) return String(a) === String(b);
  return [...keysOf(a), ...keysOf(b)].every((key) => key in a && key in b && equal(a[key], b[key], seen));
}

function sameEntries(a: Pairs, b: Pairs, seen: Pairs): boolean {
  return a.size === b.size && a.entries().every(([key, value]) =>
    (b.has(key) && equal(value, b.get(key), seen)) ||
    (isObject(key) && b.entries().some(([other, its]) => equal(key, other, seen) && equal(value, its, seen)))
  );
}

/** The own ones that can be listed; of an instance of a class, the hidden and inherited ones too. */
function keysOf(value: object): PropertyKey[] {
  if (PLAIN.has(prototypeOf(value))) return Reflect.ownKeys({ ...value });
  const keys: PropertyKey[] = [];
  for (let at = value; !PLAIN.has(at); at = Object.getPrototypeOf(at)) keys.push(...Reflect.ownKeys(at));
  return keys;
}

function prototypeOf(value: object): unknown {
  return Object.getPrototypeOf(value) ?? Object.prototype;
}

function isObject(value: unknown): value is Properties {
  return typeof value === "object" && value !== null;
}
