import type { RateSettings } from "../database/mod.ts";
import { RateSchedule, RateScheduleError } from "../rate_limiter/mod.ts";

/**
 * The rate that a queue's consumers have, or would have: the schedule's, where its window began after a rate was set. Consumers write that down
 * themselves, so where none runs the rate that stands there may be of a window that has ended.
 *
 * @param settings What was set.
 * @param now Milliseconds since 1970.
 * @returns Studies a second; `undefined` if nothing says.
 */
export function rateNow({ rate, rateSetAt = -Infinity, schedule }: RateSettings, now: number): number | undefined {
  if (schedule === undefined) return rate;
  try {
    const parsed = RateSchedule.parse(schedule);
    return rate === undefined || rateSetAt < parsed.since(now) ? parsed.rateAt(now) : rate;
  } catch (error) {
    // Of a newer version; consumers then leave the rate as it is.
    if (!(error instanceof RateScheduleError)) throw error;
    return rate;
  }
}
