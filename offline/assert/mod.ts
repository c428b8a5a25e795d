/**
 * A stand-in for `jsr:@std/assert` where JSR is out of reach: our own code over `node:assert`, with the names, signatures and semantics of the
 * functions that this project uses. Remove the folder and Deno takes the real package.
 *
 * @module
 */
import * as node from "node:assert/strict";

/** What every assertion here throws. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

// deno-lint-ignore no-explicit-any -- as in the real package, so that abstract and private constructors fit too
type AnyConstructor = new (...args: any[]) => any;
type ErrorClass<E extends Error> = abstract new (...args: never[]) => E;

function fails(message: string, detail?: string): never {
  throw new AssertionError(detail === undefined ? message : `${message}: ${detail}`);
}

function suffix(msg: string | undefined): string {
  return msg === undefined ? "" : `: ${msg}`;
}

function show(value: unknown): string {
  return Deno.inspect(value, { depth: 6, strAbbreviateSize: 2_000 });
}

/** Fails unless the value is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) fails(msg);
}

/** Fails always. */
export function fail(msg?: string): never {
  fails(`Failed assertion${suffix(msg) || "."}`);
}

/** Fails unless both are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  try {
    node.deepStrictEqual(actual, expected);
  } catch (error) {
    fails(`Values are not equal${suffix(msg)}`, error instanceof Error ? error.message : String(error));
  }
}

/** Fails if both are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  try {
    node.notDeepStrictEqual(actual, expected);
  } catch {
    fails(`Expected actual: ${show(actual)} not to be: ${show(expected)}${suffix(msg)}`);
  }
}

/** Fails unless both are the same by `Object.is`. */
export function assertStrictEquals<T>(actual: unknown, expected: T, msg?: string): asserts actual is T {
  if (!Object.is(actual, expected)) fails(`Values are not strictly equal${suffix(msg)}`, `${show(actual)} and ${show(expected)}`);
}

/** Fails if the value is `null` or `undefined`. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) {
    fails(`Expected actual: "${actual}" to not be null or undefined${suffix(msg) || "."}`);
  }
}

/** Fails unless the value is an instance of the class. */
export function assertInstanceOf<T extends AnyConstructor>(
  actual: unknown,
  expectedType: T,
  msg = "",
): asserts actual is InstanceType<T> {
  if (!(actual instanceof expectedType)) {
    fails(msg || `Expected object to be an instance of "${expectedType.name}" but was ${show(actual)}`);
  }
}

/** Fails unless the text matches. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (actual.match(expected) === null) fails(`Expected actual: "${actual}" to match: "${expected}"${suffix(msg)}`);
}

/** Fails if the text matches. */
export function assertNotMatch(actual: string, expected: RegExp, msg?: string): void {
  if (actual.match(expected) !== null) fails(`Expected actual: "${actual}" to not match: "${expected}"${suffix(msg)}`);
}

/** Fails unless the text contains the other. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (!actual.includes(expected)) fails(`Expected actual: "${actual}" to contain: "${expected}"${suffix(msg)}`);
}

/** Fails unless the numbers are at most `tolerance` apart (by default 1e-7 of the expected one). */
export function assertAlmostEquals(actual: number, expected: number, tolerance?: number, msg?: string): void {
  if (Object.is(actual, expected)) return;
  const allowed = tolerance ?? (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  const distance = Math.abs(expected - actual);
  if (!(distance <= allowed)) {
    fails(`Expected actual: "${actual}" to be close to "${expected}"${suffix(msg)}`, `delta "${distance}" is greater than "${allowed}"`);
  }
}

/** Fails unless actual > expected. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual > expected)) fails(msg ?? `Expect ${show(actual)} > ${show(expected)}`);
}

/** Fails unless actual >= expected. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual >= expected)) fails(msg ?? `Expect ${show(actual)} >= ${show(expected)}`);
}

/** Fails unless actual < expected. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual < expected)) fails(msg ?? `Expect ${show(actual)} < ${show(expected)}`);
}

/** Fails unless actual <= expected. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual <= expected)) fails(msg ?? `Expect ${show(actual)} <= ${show(expected)}`);
}

function checkError<E extends Error>(error: unknown, expected: ErrorClass<E>, includes: string | undefined, msg?: string): asserts error is E {
  if (!(error instanceof expected)) {
    fails(`Expected error to be instance of "${expected.name}", but was ${show(error)}${suffix(msg)}`);
  }
  if (includes !== undefined && !error.message.includes(includes)) {
    fails(`Expected error message to include ${show(includes)}, but got ${show(error.message)}${suffix(msg)}`);
  }
}

/** Fails unless the call throws (an instance of the class, with the text in its message). Returns what was thrown. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: ErrorClass<E> = Error as unknown as ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): E {
  try {
    fn();
  } catch (error) {
    checkError(error, ErrorClass, msgIncludes, msg);
    return error;
  }
  return fails(`Expected function to throw${suffix(msg) || "."}`);
}

/** Fails unless the promise rejects (with an instance of the class, with the text in its message). Returns the reason. */
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: ErrorClass<E> = Error as unknown as ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E> {
  let returned: PromiseLike<unknown>;
  try {
    returned = fn();
  } catch (error) {
    return fails(`Function throws when expected to reject${suffix(msg)}`, show(error));
  }
  try {
    await returned;
  } catch (error) {
    checkError(error, ErrorClass, msgIncludes, msg);
    return error;
  }
  return fails(`Expected function to reject${suffix(msg) || "."}`);
}
