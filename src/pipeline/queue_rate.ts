import { getLogger } from "@logtape/logtape";
import type { SharedRate } from "../database/mod.ts";
import { followSchedule, RateSchedule, RateScheduleError, SharedTokenBucket } from "../rate_limiter/mod.ts";

const log = getLogger(["pixl", "rate"]);

/** A queue's bucket, and its schedule as it is followed. Closing it ends both. */
export interface QueueRate extends AsyncDisposable {
  readonly bucket: SharedTokenBucket;
}

/**
 * Opens the bucket that all consumers of a queue share, and follows the queue's schedule if it has one. Each consumer does; the first to reach the
 * minute sets the rate, and what somebody sets by hand after that stays until the next window.
 *
 * @param store The queue's tokens.
 * @param options A signal that ends the attempt.
 */
export async function openQueueRate(
  store: SharedRate,
  options: { readonly signal?: AbortSignal } = {},
): Promise<QueueRate> {
  await using stack = new AsyncDisposableStack();
  const bucket = stack.use(await SharedTokenBucket.open(store, options));
  stack.use(
    await followSchedule(
      async () => readSchedule((await store.settings()).schedule),
      (rate, since) => store.set({ rate }, { unlessSetSince: since }),
    ),
  );
  const open = stack.move();
  return { bucket, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

/** One that a newer version wrote may be beyond this one: the rate then stays as it is. */
function readSchedule(text: string | undefined): RateSchedule | undefined {
  try {
    return text === undefined ? undefined : RateSchedule.parse(text);
  } catch (error) {
    if (!(error instanceof RateScheduleError)) throw error;
    log.warn("{problem}; the rate stays as it is", { problem: error.message });
    return undefined;
  }
}
