import type { OutgoingMessage, Priority } from "./broker.ts";
import { isTraceparent } from "./traceparent.ts";

/**
 * @param value Anything.
 * @returns Whether it is a whole number from 1 to 5.
 */
export function isPriority(value: unknown): value is Priority {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 5;
}

/**
 * Checks what only TypeScript would otherwise hold a publisher to.
 *
 * @param message What is to be published.
 * @throws {RangeError} Naming what is wrong.
 */
export function checkOutgoing({ priority, traceparent, attempt }: OutgoingMessage): void {
  if (priority !== undefined && !isPriority(priority)) {
    throw new RangeError(
      `Cannot publish a message as 'priority' must be a whole number from 1 to 5: current value is ${priority}`,
    );
  }
  if (traceparent !== undefined && !isTraceparent(traceparent)) {
    throw new RangeError(
      `Cannot publish a message as 'traceparent' must be one of W3C Trace Context, version 00: current value is '${traceparent}'`,
    );
  }
  if (attempt !== undefined && !(Number.isSafeInteger(attempt) && attempt >= 1)) {
    throw new RangeError(
      `Cannot publish a message as 'attempt' must be a whole number of at least 1: current value is ${attempt}`,
    );
  }
}
