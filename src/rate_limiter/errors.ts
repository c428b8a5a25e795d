import { PixlError } from "../errors.ts";

/** A token cannot be had within `maxWaitMs`. Nothing was taken. */
export class RateLimitTimeoutError extends PixlError {
  /** Always the same. */
  override readonly code = "rate-limit-timeout";
  /** The tokens come later. */
  override readonly kind = "unavailable";

  /** Says how long it would take. @param maxWaitMs The wait that was allowed. @param neededMs The wait that would be needed; `Infinity` at rate 0. */
  constructor(maxWaitMs: number, neededMs: number) {
    super(
      `Cannot take tokens within ${maxWaitMs} ms: it needs ${Math.ceil(neededMs)} ms, so allow more or raise the rate`,
    );
  }
}

/** A schedule cannot be read. */
export class RateScheduleError extends PixlError {
  /** Always the same. */
  override readonly code = "rate-schedule";
  /** Whoever wrote it must change it. */
  override readonly kind = "configuration";

  /** Says where and why. @param part The part at fault, as it was written. @param why What is wrong with it. */
  constructor(part: string, why: string) {
    super(`Cannot read '${part}' of the schedule: ${why}`);
  }
}
