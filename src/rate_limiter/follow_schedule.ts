import { getLogger } from "@logtape/logtape";
import { PixlError } from "../errors.ts";
import type { RateSchedule } from "./rate_schedule.ts";

const log = getLogger(["pixl", "rate", "schedule"]);

const MINUTE_MS = 60_000;

/** How a schedule is followed. */
export interface FollowOptions {
  /** Milliseconds since 1970. @default {Date.now} */
  readonly clock?: () => number;
}

/**
 * Applies a schedule's rate now, and at the minute in which another window begins. Between them it applies nothing, so a rate that is set by hand holds
 * until the next window. What fails is logged and tried again a minute later; only the first time it is thrown.
 *
 * @param read Gives the schedule, each minute anew; nothing if there is none now.
 * @param apply Sets the rate, such as `(rate) => bucket.setRate(rate)`. `since` is when the window began, in milliseconds since 1970, or `-Infinity`.
 * @param options The clock.
 * @returns Close it to end it.
 *
 * @example
 * ```ts
 * import { followSchedule, RateSchedule, TokenBucket } from "@pixl/core/rate-limiter";
 * import { assertEquals } from "@std/assert";
 *
 * const bucket = new TokenBucket();
 * const schedule = RateSchedule.parse("mon-fri 08:00-18:00 Europe/London = 1; otherwise 0.5");
 * const clock = () => Date.parse("2026-11-25T12:00:00Z");
 * await using _following = await followSchedule(() => schedule, (rate) => bucket.setRate(rate), { clock });
 * assertEquals(bucket.rate, 1);
 * ```
 */
export async function followSchedule(
  read: () => RateSchedule | undefined | Promise<RateSchedule | undefined>,
  apply: (rate: number, since: number) => unknown,
  options: FollowOptions = {},
): Promise<AsyncDisposable> {
  const { clock = Date.now } = options;
  let applied = "";
  const look = async () => {
    const now = clock();
    const schedule = await read();
    const since = schedule?.since(now) ?? -Infinity;
    const due = schedule === undefined ? "" : `${schedule} since ${since}`;
    if (schedule !== undefined && due !== applied) await apply(schedule.rateAt(now), since);
    applied = due;
  };
  await look();
  let looking: Promise<void> | undefined;
  let timer = setTimeout(tick, untilNextMinute());
  return {
    async [Symbol.asyncDispose]() {
      clearTimeout(timer);
      await looking;
    },
  };

  function tick(): void {
    timer = setTimeout(tick, untilNextMinute());
    looking ??= look().catch((error) => {
      const code = error instanceof PixlError ? error.code : error instanceof Error ? error.name : "unknown";
      log.warn("The schedule of the rate cannot be followed now ({code}); it will be tried again", { code });
    }).finally(() => looking = undefined);
  }

  /** A timer may come a little early, and the clock may be set: both are put right by the next one. */
  function untilNextMinute(): number {
    return MINUTE_MS - clock() % MINUTE_MS;
  }
}
