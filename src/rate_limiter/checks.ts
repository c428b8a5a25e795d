/** @throws {RangeError} If it is not a finite number of at least 0. */
export function checkRate(rate: number): number {
  if (!Number.isFinite(rate) || rate < 0) {
    throw new RangeError(
      `Cannot set the rate as 'rate' must be a finite number of at least 0: current value is ${rate}`,
    );
  }
  return rate;
}

/** @throws {RangeError} If it is no whole number of at least 1. */
export function checkCapacity(capacity: number): number {
  if (!Number.isSafeInteger(capacity) || capacity < 1) {
    throw new RangeError(
      `Cannot set the capacity as 'capacity' must be a whole number of at least 1: current value is ${capacity}`,
    );
  }
  return capacity;
}

/** @throws {RangeError} If it is not from 0 to the capacity. */
export function checkInitial(initial: number, capacity: number): number {
  if (!(initial >= 0 && initial <= capacity)) {
    throw new RangeError(
      `Cannot fill the bucket as 'initial' must be from 0 to the capacity ${capacity}: current value is ${initial}`,
    );
  }
  return initial;
}

/** @throws {RangeError} If it is no whole number from 1 to the capacity. */
export function checkTokens(n: number, capacity: number): void {
  if (Number.isInteger(n) && n >= 1 && n <= capacity) return;
  throw n > capacity && Number.isInteger(n) ? tooMany(n, capacity) : new RangeError(
    `Cannot take tokens as 'n' must be a whole number of at least 1: current value is ${n}`,
  );
}

/** More tokens wanted than the bucket can ever hold. */
export function tooMany(n: number, capacity: number): RangeError {
  return new RangeError(`Cannot take tokens as 'n' must be at most the capacity ${capacity}: current value is ${n}`);
}

/** @throws {RangeError} If it is negative or no number. */
export function checkMaxWait(maxWaitMs: number): number {
  if (!(maxWaitMs >= 0)) {
    throw new RangeError(`Cannot take tokens as 'maxWaitMs' must be at least 0: current value is ${maxWaitMs}`);
  }
  return maxWaitMs;
}
