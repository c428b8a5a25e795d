import type { OutgoingMessage, Priority } from "./broker.ts";
import { checkTraceparent } from "./traceparent.ts";

/** Whether it is one of the five degrees. */
export function isPriority(value: unknown): value is Priority {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 5;
}

/**
 * Passes on what may be published.
 *
 * @throws {RangeError} If `priority` is not 1 to 5, `attempt` no whole number from 1, or `traceparent` malformed.
 */
export function checkOutgoing(message: OutgoingMessage): OutgoingMessage {
  const { priority, traceparent, attempt } = message;
  if (priority !== undefined && !isPriority(priority)) {
    throw new RangeError(`Cannot publish as 'priority' must be 1, 2, 3, 4 or 5: current value is ${priority}`);
  }
  if (attempt !== undefined && !(Number.isInteger(attempt) && attempt >= 1 && attempt < 2 ** 31)) {
    throw new RangeError(
      `Cannot publish as 'attempt' must be a whole number from 1 to 2^31 - 1: current value is ${attempt}`,
    );
  }
  if (traceparent !== undefined) checkTraceparent(traceparent);
  return message;
}
