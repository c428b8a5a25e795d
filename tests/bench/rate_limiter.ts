import { RateLimiter } from "limiter";
import { TokenBucket } from "@pixl/core/rate-limiter";
import { type BenchRow, compare, perSecond } from "./bench.ts";

const CALLS = 1_000_000;

/** Taking a token that is there, or is not. */
export async function benchRateLimiter(): Promise<BenchRow[]> {
  return [
    await compare({
      area: "rate-limiter",
      name: "tryTake",
      unit: "calls/s",
      goal: 2,
      ours: () => {
        const bucket = new TokenBucket({ rate: 1e6, capacity: 1_000 });
        return perSecond(CALLS, () => {
          for (let i = 0; i < CALLS; i++) bucket.tryTake();
        });
      },
      peers: {
        limiter: () => {
          const limiter = new RateLimiter({ tokensPerInterval: 1e6, interval: "second" });
          return perSecond(CALLS, () => {
            for (let i = 0; i < CALLS; i++) limiter.tryRemoveTokens(1);
          });
        },
      },
    }),
  ];
}
