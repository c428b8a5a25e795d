/** The longest that a timer can be set to, in milliseconds: 24 days. */
const MAX_MS = 2 ** 31 - 1;

/**
 * @param action What cannot be done, to follow "Cannot".
 * @param name What the time is called.
 * @param ms The time, in milliseconds.
 * @param min The least.
 * @throws {RangeError} If it is no time that a timer can be set to.
 */
export function checkTime(action: string, name: string, ms: number, min: number): void {
  if (ms >= min && ms <= MAX_MS) return;
  throw new RangeError(`Cannot ${action} as '${name}' must be from ${min} to ${MAX_MS}: current value is ${ms}`);
}
