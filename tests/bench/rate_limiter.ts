import Bottleneck from "bottleneck";
import { RateLimiter } from "limiter";
import { RateLimiterMemory, RateLimiterQueue } from "rate-limiter-flexible";
import { TokenBucket } from "@pixl/core/rate-limiter";
import { type BenchRow, compare, perSecond } from "./bench.ts";

const CALLS = 200_000;
/** Bottleneck needs milliseconds for a call. */
const SLOW_CALLS = 200;
const WAITERS = 100_000;
const SLOW_WAITERS = 400;
/** So many that they are always there. */
const PLENTY = 1e9;
/** A bucket that is neither empty nor full for a long time. */
const HALF_FULL = { rate: 1, capacity: PLENTY, initial: PLENTY / 2 };

/**
 * Taking tokens that are there or not, and waiting for them. Each has a loop of its own: one loop that calls whatever it is given costs as much as a token.
 */
export async function benchRateLimiter(): Promise<BenchRow[]> {
  const area = "rate-limiter";
  return [
    await compare({
      area,
      name: "tryTake",
      unit: "calls/s",
      goal: 2,
      ours: () => {
        const bucket = new TokenBucket(HALF_FULL);
        return perSecond(CALLS, () => {
          for (let i = 0; i < CALLS; i++) bucket.tryTake();
        });
      },
      peers: {
        limiter: () => {
          const limiter = new RateLimiter({ tokensPerInterval: PLENTY, interval: "second" });
          return perSecond(CALLS, () => {
            for (let i = 0; i < CALLS; i++) limiter.tryRemoveTokens(1);
          });
        },
        // Its answer is a promise.
        "rate-limiter-flexible": () => {
          const limiter = new RateLimiterMemory({ points: PLENTY, duration: 1_000 });
          return perSecond(CALLS, async () => {
            for (let i = 0; i < CALLS; i++) await limiter.consume("pacs");
          });
        },
        bottleneck: () => {
          const limiter = new Bottleneck({ reservoir: PLENTY });
          return perSecond(SLOW_CALLS, async () => {
            for (let i = 0; i < SLOW_CALLS; i++) await limiter.check();
          });
        },
      },
    }),
    await compare({
      area,
      name: "tryTake, none there (out of reach: each looks at the clock once, which is nearly all of it)",
      unit: "calls/s",
      goal: 2,
      ours: () => {
        const bucket = new TokenBucket({ rate: 1e-9, initial: 0 });
        return perSecond(CALLS, () => {
          for (let i = 0; i < CALLS; i++) bucket.tryTake();
        });
      },
      peers: {
        limiter: () => {
          const limiter = new RateLimiter({ tokensPerInterval: 1, interval: "day" });
          limiter.tryRemoveTokens(1);
          return perSecond(CALLS, () => {
            for (let i = 0; i < CALLS; i++) limiter.tryRemoveTokens(1);
          });
        },
        "rate-limiter-flexible": () => {
          const limiter = new RateLimiterMemory({ points: 1, duration: 1_000 });
          return perSecond(CALLS, async () => {
            for (let i = 0; i < CALLS; i++) await limiter.consume("pacs").catch(() => {});
          });
        },
        bottleneck: () => {
          const limiter = new Bottleneck({ reservoir: 0 });
          return perSecond(SLOW_CALLS, async () => {
            for (let i = 0; i < SLOW_CALLS; i++) await limiter.check();
          });
        },
      },
    }),
    await compare({
      area,
      name: "take, uncontended",
      unit: "calls/s",
      goal: 3,
      rounds: 11,
      ours: () => {
        const bucket = new TokenBucket(HALF_FULL);
        return perSecond(CALLS, async () => {
          for (let i = 0; i < CALLS; i++) await bucket.take();
        });
      },
      peers: {
        limiter: () => {
          const limiter = new RateLimiter({ tokensPerInterval: PLENTY, interval: "second" });
          return perSecond(CALLS, async () => {
            for (let i = 0; i < CALLS; i++) await limiter.removeTokens(1);
          });
        },
        // Its queue, since `consume` alone does not wait.
        "rate-limiter-flexible": () => {
          const queue = new RateLimiterQueue(new RateLimiterMemory({ points: PLENTY, duration: 1_000 }));
          return perSecond(CALLS, async () => {
            for (let i = 0; i < CALLS; i++) await queue.removeTokens(1);
          });
        },
        bottleneck: () => {
          const limiter = new Bottleneck({ reservoir: PLENTY });
          return perSecond(SLOW_CALLS, async () => {
            for (let i = 0; i < SLOW_CALLS; i++) await limiter.schedule(() => Promise.resolve());
          });
        },
      },
    }),
    await compare({
      area,
      name: "100,000 queued, then served in order",
      unit: "waiters/s",
      goal: 1,
      ours: () => {
        const bucket = new TokenBucket({ rate: 0, capacity: WAITERS, initial: WAITERS });
        return inOrder(WAITERS, () => bucket.take(), () => bucket.setRate(1));
      },
      peers: {
        bottleneck: () => {
          const limiter = new Bottleneck({ reservoir: 0 });
          const take = () => limiter.schedule(() => Promise.resolve());
          return inOrder(SLOW_WAITERS, take, () => limiter.incrementReservoir(SLOW_WAITERS));
        },
      },
      rounds: 3,
    }),
    await compare({
      area,
      name: "waiters in a megabyte",
      unit: "waiters",
      goal: 1,
      ours: waitersInAMegabyte,
      peers: { "300 bytes each": () => 1e6 / 300 },
    }),
  ];
}

/** Queues takes, lets them be served, and waits for all. @returns Waiters a second. @throws If one is served out of order. */
function inOrder(waiters: number, take: () => Promise<unknown>, serve: () => unknown): Promise<number> {
  let served = 0;
  return perSecond(waiters, async () => {
    const all = Array.from({ length: waiters }, async (_, i) => {
      await take();
      if (served++ !== i) throw new Error(`waiter ${i} was served as number ${served}`);
    });
    await serve();
    await Promise.all(all);
  });
}

/** What `deno run --v8-flags=--expose-gc` adds. */
declare const gc: () => void;

function waitersInAMegabyte(): number {
  const bucket = new TokenBucket({ rate: 0 });
  const promises = new Array<Promise<void>>(WAITERS);
  promises.fill(Promise.resolve());
  gc();
  const before = Deno.memoryUsage().heapUsed;
  for (let i = 0; i < WAITERS; i++) promises[i] = bucket.take();
  gc();
  const bytes = Deno.memoryUsage().heapUsed - before;
  // A look at both, so that neither is collected before.
  return 1e6 * Math.min(promises.length, bucket.waiting) / bytes;
}
