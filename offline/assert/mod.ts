/**
 * A stand-in for `jsr:@std/assert` where JSR is out of reach: our own code, with the names, signatures and semantics of the functions that this
 * project uses; only the differences are shown as `node:assert` shows them. Remove the folder and Deno takes the real package.
 * @module
 */
import { AssertionError as NodeError } from "node:assert";
import { stripVTControlCharacters } from "node:util";
import { equal } from "./equal.ts";

type Class<T = unknown> = abstract new (...args: never[]) => T;
type Comparison = <T>(actual: T, expected: T, msg?: string) => void;
type Rest = [classOrMsg?: Class<Error> | string, includesOrMsg?: string, msg?: string];
type Start = () => PromiseLike<unknown>;

/** What every assertion here throws. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

/** Fails unless the value is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/** Fails unless both are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!equal(actual, expected)) fails("Values are not equal", msg, { actual, expected });
}

/** Fails if both are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) fails(`Expected actual: ${show(actual)} not to be: ${show(expected)}`, msg);
}

/** Fails unless both are the same by `Object.is`. */
export function assertStrictEquals<T>(actual: unknown, expected: T, msg?: string): asserts actual is T {
  if (!Object.is(actual, expected)) fails("Values are not strictly equal", msg, { actual, expected });
}

/** Fails unless the value is an instance of the class. */
export function assertInstanceOf<T extends Class>(value: unknown, type: T, msg = ""): asserts value is InstanceType<T> {
  if (value instanceof type) return;
  const is = value === null ? "null" : typeof value === "object" ? value.constructor?.name ?? "Object" : typeof value;
  const but = is === "function" ? " but was not an instanced object" : is === type.name ? "" : ` but was "${is}"`;
  fails(`Expected object to be an instance of "${type.name}"${but}`, msg);
}

/** Fails unless the text matches. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (!expected.test(actual)) fails(`Expected actual: "${actual}" to match: "${expected}"`, msg);
}

/** Fails if the text matches. */
export function assertNotMatch(actual: string, expected: RegExp, msg?: string): void {
  if (expected.test(actual)) fails(`Expected actual: "${actual}" to not match: "${expected}"`, msg);
}

/** Fails unless the text contains the other. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (!actual.includes(expected)) fails(`Expected actual: "${actual}" to contain: "${expected}"`, msg);
}

/** Fails unless the numbers are at most `tolerance` apart (by default 1e-7 of the expected one). */
export function assertAlmostEquals(actual: number, expected: number, tolerance?: number, msg?: string): void {
  const allowed = tolerance ?? (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  const delta = Math.abs(expected - actual);
  if (Object.is(actual, expected) || delta <= allowed) return;
  const [a, e, d, t] = [actual, expected, delta, allowed].map((n) => Number.isInteger(n) ? n : n.toExponential());
  fails(`Expected actual: "${a}" to be close to "${e}": delta "${d}" is greater than "${t}"`, msg);
}

function comparison(sign: string, holds: <T>(actual: T, expected: T) => boolean): Comparison {
  return (actual, expected, msg) => {
    if (!holds(actual, expected)) throw new AssertionError(msg ?? `Expect ${show(actual)} ${sign} ${show(expected)}`);
  };
}

/** Fails unless actual > expected. */
export const assertGreater: Comparison = comparison(">", (actual, expected) => actual > expected);
/** Fails unless actual >= expected. */
export const assertGreaterOrEqual: Comparison = comparison(">=", (actual, expected) => actual >= expected);
/** Fails unless actual < expected. */
export const assertLess: Comparison = comparison("<", (actual, expected) => actual < expected);
/** Fails unless actual <= expected. */
export const assertLessOrEqual: Comparison = comparison("<=", (actual, expected) => actual <= expected);

function wantedOf([first, second, third]: Rest) {
  return typeof first === "string" || !first
    ? [undefined, "", first ?? second] as const
    : [first, second, third] as const;
}

/** Fails unless the call throws (an instance of the class, with the text in its message). Returns what was thrown. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
export function assertThrows<E extends Error>(fn: () => unknown, type: Class<E>, includes?: string, msg?: string): E;
export function assertThrows(fn: () => unknown, ...rest: Rest): unknown {
  const [wanted, includes, msg] = wantedOf(rest);
  try {
    fn();
  } catch (error) {
    return check(error, "thrown", wanted, includes, msg);
  }
  fails("Expected function to throw", msg);
}

/** Fails unless the promise rejects (with an instance of the class, with the text in its message). Returns the reason. */
export function assertRejects(fn: Start, msg?: string): Promise<unknown>;
export function assertRejects<E extends Error>(fn: Start, type: Class<E>, includes?: string, msg?: string): Promise<E>;
export async function assertRejects(fn: Start, ...rest: Rest): Promise<unknown> {
  const [wanted, includes, msg] = wantedOf(rest);
  let promised = false;
  try {
    const promise = fn();
    promised = typeof promise?.then === "function";
    if (promised) await promise;
  } catch (error) {
    if (promised) return check(error, "rejected", wanted, includes, msg);
  }
  fails(promised ? "Expected function to reject" : "Function throws when expected to reject", msg);
}

function check(error: unknown, how: string, wanted?: Class<Error>, includes = "", msg = ""): unknown {
  if (wanted === undefined) return error;
  if (!(error instanceof Error)) fails(`A non-Error object was ${how}`, msg);
  const { name } = error.constructor;
  if (!(error instanceof wanted)) fails(`Expected error to be instance of "${wanted.name}", but was "${name}"`, msg);
  if (stripVTControlCharacters(error.message).includes(stripVTControlCharacters(includes))) return error;
  fails(`Expected error message to include ${JSON.stringify(includes)}, but got ${JSON.stringify(error.message)}`, msg);
}

function fails(what: string, msg?: string, compared?: { actual: unknown; expected: unknown }): never {
  const difference = compared ? `\n\n${new NodeError({ ...compared, operator: "deepStrictEqual" }).message}` : "";
  throw new AssertionError(`${what}${msg ? `: ${msg}` : "."}${difference}`);
}

function show(value: unknown): string {
  return Deno.inspect(value, { depth: 99, iterableLimit: 1e9, compact: false, sorted: true, trailingComma: true });
}
