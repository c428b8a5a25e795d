import { getLogger } from "@logtape/logtape";
import type { Ledger } from "../database/mod.ts";
import { TokenBucket } from "../rate_limiter/mod.ts";

const log = getLogger(["pixl", "rate"]);

/** A changed rate reaches a consumer within so many milliseconds. */
const POLL_MS = 500;

/** A bucket whose rate is what the database says; closing it stops looking. */
export interface FollowedRate extends AsyncDisposable {
  readonly bucket: TokenBucket;
}

/**
 * A bucket for a queue, at the rate that the database has for it, changed when that changes. While the database is away the last rate holds.
 *
 * @param ledger Has the rates.
 * @param queue The queue's name.
 * @param fallback Studies a second where no rate was ever set.
 */
export async function followRate(ledger: Ledger, queue: string, fallback: number): Promise<FollowedRate> {
  const bucket = new TokenBucket({ rate: (await ledger.rate(queue)) ?? fallback });
  let polling: Promise<void> | undefined;
  const poll = async () => {
    try {
      const rate = (await ledger.rate(queue)) ?? fallback;
      if (rate !== bucket.rate) {
        log.info("Queue {queue} goes at {rate} a second from now on", { queue, rate });
        bucket.setRate(rate);
      }
    } catch {
      log.debug("The rate of queue {queue} cannot be read; it stays as it is", { queue });
    }
    polling = undefined;
  };
  const timer = setInterval(() => polling ??= poll(), POLL_MS);
  return {
    bucket,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await polling;
    },
  };
}
