import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { RateLimitTimeoutError, SharedTokenBucket } from "@pixl/core/rate-limiter";
import { FakeTime } from "../support/fake_time.ts";
import { ModelStore } from "./model_store.ts";

interface Scene extends Disposable {
  readonly time: FakeTime;
  readonly store: ModelStore;
  /** Another process that shares the store. */
  open(): Promise<SharedTokenBucket>;
  /** Takes one token after the other and notes when, until the bucket is closed. */
  keepTaking(bucket: SharedTokenBucket, n?: number): number[];
}

function scene(rate: number, capacity: number): Scene {
  const time = new FakeTime();
  const store = new ModelStore(time.clock, rate, capacity);
  return {
    time,
    store,
    open: () => SharedTokenBucket.open(store, { clock: time.clock, random: () => 0.5 }),
    keepTaking(bucket, n = 1) {
      const times: number[] = [];
      const loop = async () => {
        for (;;) {
          await bucket.take(n);
          times.push(time.clock());
        }
      };
      loop().catch(() => {});
      return times;
    },
    [Symbol.dispose]: () => time[Symbol.dispose](),
  };
}

const between = (times: readonly number[], from: number, to: number) =>
  times.filter((at) => at >= from && at < to).length;

Deno.test("SharedTokenBucket.take() is served at the rate, each token when it is due", async () => {
  using scenery = scene(5, 5);
  await using bucket = await scenery.open();
  const times = scenery.keepTaking(bucket);

  await scenery.time.advance(3_000);

  // The second was not foreseen, so it comes with the next question, a little late.
  assertEquals(times, [0, 250, ...Array.from({ length: 14 }, (_, i) => 400 + i * 200)]);
});

Deno.test("SharedTokenBucket: the database sees at most five questions a second, and none while nobody asks for tokens", async () => {
  using scenery = scene(50, 5);
  await using bucket = await scenery.open();
  const abort = new AbortController();
  const waiting = Promise.allSettled(Array.from({ length: 1_000 }, () => bucket.take(1, { signal: abort.signal })));
  await scenery.time.advance(5_000);
  assert(scenery.store.asked <= 27, `${scenery.store.asked}`);

  abort.abort();
  await waiting;
  await scenery.time.advance(1_000);
  const { asked } = scenery.store;
  await scenery.time.advance(60_000);
  assertEquals([scenery.store.asked, scenery.time.timers], [asked, 0]);
});

Deno.test("SharedTokenBucket: two processes together take no more than one would, and each gets its share", async () => {
  using scenery = scene(20, 5);
  await using one = await scenery.open();
  await scenery.time.advance(70);
  await using two = await scenery.open();
  const [first, second] = [scenery.keepTaking(one), scenery.keepTaking(two)];

  await scenery.time.advance(10_000);

  const total = first.length + second.length;
  assert(total >= 198 && total <= 205, `${total}`);
  assert(Math.min(first.length, second.length) > 50, `${first.length} ${second.length}`);
});

/** A whole number from 0 in an order that looks like chance and is always the same. */
function chance(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 16_807) % 2_147_483_647) / 2_147_483_647;
}

for (const processes of [4, 10]) {
  Deno.test(`SharedTokenBucket: ${processes} hungry processes at 5 a second all get their share, and nothing is lost`, async () => {
    using scenery = scene(5, 5);
    const buckets = await Promise.all(
      Array.from(
        { length: processes },
        (_, i) => SharedTokenBucket.open(scenery.store, { clock: scenery.time.clock, random: chance(i + 1) }),
      ),
    );
    const times = buckets.map((bucket) => scenery.keepTaking(bucket));

    await scenery.time.advance(120_000);

    const share = 600 / processes;
    for (const { length } of times) {
      assert(
        length > share / 2 && length < share * 2,
        times.map((t) => t.length).join(" "),
      );
    }
    assert(times.flat().length >= 590, `${times.flat().length}`);
    await Promise.all(buckets.map((bucket) => bucket[Symbol.asyncDispose]()));
  });
}

Deno.test("SharedTokenBucket: a process that is busy with its work books nothing that a hungry one could use", async () => {
  using scenery = scene(5, 5);
  await using slow = await scenery.open();
  await using hungry = await scenery.open();
  const busy: number[] = [];
  const work = async () => {
    for (;;) {
      await slow.take();
      busy.push(scenery.time.clock());
      await new Promise((resolve) => setTimeout(resolve, 1_200));
    }
  };
  work().catch(() => {});
  const times = scenery.keepTaking(hungry);

  await scenery.time.advance(60_000);

  assert(busy.length > 20, `${busy.length}`);
  assert(busy.length + times.length >= 295, `${busy.length} + ${times.length}`);
});

Deno.test("SharedTokenBucket.take() of very many does not overflow the stack", async () => {
  using scenery = scene(1e6, 1_000_000);
  await using bucket = await scenery.open();
  await scenery.time.advance(2_000);
  await Promise.all([bucket.take(500_000), scenery.time.advance(10)]);
  bucket.refund(500_000);
});

Deno.test("SharedTokenBucket: a token that is due in months sets no timer that comes at once", async () => {
  using scenery = scene(1e-7, 5);
  await using bucket = await scenery.open();
  const abort = new AbortController();
  const waiting = assertRejects(() => bucket.take(5, { signal: abort.signal }));
  await scenery.time.advance(60_000);
  assertEquals(bucket.waiting, 1);
  abort.abort();
  await waiting;
});

Deno.test("SharedTokenBucket.take() with maxWaitMs is refused when that is over, though the store hangs", async () => {
  using scenery = scene(5, 5);
  await using bucket = await scenery.open();
  scenery.store.hangs = true;
  const late = assertRejects(() => bucket.take(1, { maxWaitMs: 300 }), RateLimitTimeoutError, "within 300 ms");
  await scenery.time.advance(300);
  await late;
  // The question that hangs is given up after a time of its own, which is real.
  scenery.store.hangs = false;
});

Deno.test("SharedTokenBucket: setting the rate and the capacity at once arrives at both", async () => {
  using scenery = scene(5, 5);
  await using bucket = await scenery.open();
  scenery.store.delayMs = 20;
  await Promise.all([bucket.setRate(7), bucket.setCapacity(3), scenery.time.advance(200)]);
  assertEquals([bucket.rate, bucket.capacity], [7, 3]);
});

Deno.test("SharedTokenBucket: whoever waits for several is served in turn, neither late nor twice", async () => {
  using scenery = scene(10, 5);
  await using bucket = await scenery.open();
  const order: number[] = [];
  for (const n of [5, 1, 5, 2]) void bucket.take(n).then(() => order.push(n));
  await scenery.time.advance(1_400);
  assertEquals([order, bucket.waiting], [[5, 1, 5, 2], 0]);
});

Deno.test("SharedTokenBucket: a rate set anywhere reaches a bucket that waits within a second", async () => {
  for (const to of [0, 1, 100]) {
    using scenery = scene(5, 5);
    await using setter = await scenery.open();
    await using bucket = await scenery.open();
    const times = scenery.keepTaking(bucket);
    await scenery.time.advance(5_000);

    await setter.setRate(to);
    assertEquals(setter.rate, to);
    await scenery.time.advance(1_000);

    assertEquals(bucket.rate, to);
    await scenery.time.advance(10_000);
    assert(Math.abs(between(times, 6_000, 16_000) - 10 * to) <= 1, `${between(times, 6_000, 16_000)} at ${to}`);
  }
});

Deno.test("SharedTokenBucket: a pause takes back what was booked and is not due", async () => {
  using scenery = scene(5, 5);
  await using bucket = await scenery.open();
  const times = scenery.keepTaking(bucket);
  await scenery.time.advance(2_000);
  const before = times.length;

  await bucket.setRate(0);
  await scenery.time.advance(60_000);

  assertEquals([times.length, bucket.waiting, bucket.tokens, bucket.timeUntil()], [before, 1, 0, Infinity]);
  await bucket.setRate(5);
  await scenery.time.advance(2_000);
  assert(times.length > before + 5);
});

Deno.test("SharedTokenBucket: with the store away there are no tokens after a second, those who wait stay, and it goes on by itself", async () => {
  using scenery = scene(50, 50);
  await using bucket = await scenery.open();
  const times = scenery.keepTaking(bucket);
  await scenery.time.advance(5_000);

  scenery.store.away = true;
  await scenery.time.advance(60_000);
  assertEquals([between(times, 6_000, 65_000), bucket.waiting, bucket.tokens], [0, 1, 0]);

  scenery.store.away = false;
  await scenery.time.advance(2_000);
  assert(between(times, 66_000, 67_000) >= 50);
});

Deno.test("SharedTokenBucket gives out nothing that it booked more than a second ago, since it may have been paused", async () => {
  using scenery = scene(0.1, 5);
  await using bucket = await scenery.open();
  assertEquals(bucket.tryTake(), false);
  await scenery.time.advance(1);
  assertEquals(bucket.tokens, 1);
  scenery.store.away = true;
  await scenery.time.advance(1_000);
  assertEquals([bucket.tokens, bucket.tryTake()], [0, false]);
});

Deno.test("SharedTokenBucket: tokens that were long on their way are not used", async () => {
  using scenery = scene(50, 50);
  await using bucket = await scenery.open();
  scenery.store.delayMs = 1_500;
  const times = scenery.keepTaking(bucket);
  await scenery.time.advance(10_000);
  assertEquals(times, []);

  scenery.store.delayMs = 0;
  await scenery.time.advance(5_000);
  assert(times.length > 50);
});

Deno.test("SharedTokenBucket.tryTake() books for the next time", async () => {
  using scenery = scene(5, 5);
  await using bucket = await scenery.open();
  assertEquals(bucket.tryTake(), false);
  await scenery.time.advance(1);
  assertEquals([bucket.tokens, bucket.tryTake(), bucket.tryTake()], [1, true, false]);
});

Deno.test("SharedTokenBucket.tryTake() does not overtake those who wait", async () => {
  using scenery = scene(1, 5);
  await using bucket = await scenery.open();
  const three = bucket.take(3);
  await scenery.time.advance(1_500);
  assertEquals(bucket.tryTake(), false);
  await scenery.time.advance(1_000);
  await three;
});

Deno.test("SharedTokenBucket.refund() serves who waits, if the token is not lost yet", async () => {
  using scenery = scene(0.1, 5);
  await using bucket = await scenery.open();
  await Promise.all([bucket.take(), scenery.time.advance(1)]);
  const waiting = bucket.take();

  bucket.refund();

  await waiting;
  assertEquals(bucket.tokens, 0);
});

Deno.test("SharedTokenBucket.refund() after the bucket would have lost the token does nothing", async () => {
  using scenery = scene(5, 5);
  await using bucket = await scenery.open();
  await Promise.all([bucket.take(), scenery.time.advance(1)]);
  await scenery.time.advance(2_000);
  bucket.refund();
  assertEquals(bucket.tokens, 0);
});

Deno.test("SharedTokenBucket.refund() of more than was taken mints nothing", async () => {
  using scenery = scene(5, 5);
  await using bucket = await scenery.open();
  await Promise.all([bucket.take(), scenery.time.advance(1)]);
  bucket.refund(5);
  bucket.refund(5);
  assertEquals(bucket.tokens, 1);
});

Deno.test("SharedTokenBucket.take() that is aborted leaves its token to the next", async () => {
  using scenery = scene(1, 5);
  await using bucket = await scenery.open();
  const abort = new AbortController();
  const [first, second] = [bucket.take(5, { signal: abort.signal }), bucket.take()];
  await scenery.time.advance(500);

  abort.abort(new Error("no longer wanted"));

  await assertRejects(() => first, Error, "no longer wanted");
  await second;
});

Deno.test("SharedTokenBucket.take() with maxWaitMs is refused at once if it is known to be late, or when a lower rate makes it so", async () => {
  using scenery = scene(2, 5);
  await using bucket = await scenery.open();
  await Promise.all([bucket.take(), scenery.time.advance(1)]);
  await assertRejects(() => bucket.take(3, { maxWaitMs: 1_000 }), RateLimitTimeoutError);
  const late = assertRejects(() => bucket.take(3, { maxWaitMs: 2_000 }), RateLimitTimeoutError);

  await Promise.all([bucket.setRate(0.1), scenery.time.advance(1)]);

  await late;
});

Deno.test("SharedTokenBucket.take() with maxWaitMs is refused when that has passed with the store away", async () => {
  using scenery = scene(2, 5);
  await using bucket = await scenery.open();
  await Promise.all([bucket.take(), scenery.time.advance(1)]);
  const late = assertRejects(() => bucket.take(5, { maxWaitMs: 5_000 }), RateLimitTimeoutError);
  scenery.store.away = true;
  await scenery.time.advance(6_100);
  await late;
});

Deno.test("SharedTokenBucket: an hour of idleness banks no more than the capacity, for all together", async () => {
  using scenery = scene(5, 5);
  const buckets = [await scenery.open(), await scenery.open(), await scenery.open()];
  await scenery.time.advance(3_600_000);
  const all = [...buckets, ...buckets].map((bucket) => scenery.keepTaking(bucket));

  await scenery.time.advance(1_000);

  const total = all.flat().length;
  assert(total >= 5, `${total}`);
  assert(total <= 5 + 5 * 1.1 + 1, `${total}`);
  for (const bucket of buckets) await bucket[Symbol.asyncDispose]();
});

Deno.test("SharedTokenBucket: closing refuses those who wait, and all who come later", async () => {
  using scenery = scene(0.001, 5);
  const bucket = await scenery.open();
  await Promise.all([bucket.take(), scenery.time.advance(1)]);
  const waiting = assertRejects(() => bucket.take(), DOMException, "closed");

  await bucket[Symbol.asyncDispose]();

  await waiting;
  await assertRejects(() => bucket.take(), DOMException, "closed");
  assertEquals(scenery.time.timers, 0);
});

Deno.test("SharedTokenBucket.open() throws what the store throws", async () => {
  using scenery = scene(5, 5);
  scenery.store.away = true;
  await assertRejects(() => scenery.open(), Error, "away");
});

Deno.test("SharedTokenBucket refuses what TokenBucket refuses", async () => {
  using scenery = scene(5, 5);
  await using bucket = await scenery.open();
  for (const bad of [NaN, Infinity, -Infinity, -1]) {
    const named = `current value is ${bad}`;
    await assertRejects(() => bucket.setRate(bad), RangeError, named);
    await assertRejects(() => bucket.setCapacity(bad), RangeError, named);
    assertThrows(() => bucket.tryTake(bad), RangeError, named);
    assertThrows(() => bucket.refund(bad), RangeError, named);
    assertThrows(() => bucket.timeUntil(bad), RangeError, named);
    await assertRejects(() => bucket.take(bad), RangeError, named);
  }
  assertThrows(() => bucket.tryTake(6), RangeError, "at most the capacity 5");
  await Promise.all([bucket.setCapacity(6), scenery.time.advance(1)]);
  assertEquals(bucket.tryTake(6), false);
});

Deno.test("SharedTokenBucket.setCapacity() refuses those who wait for more", async () => {
  using scenery = scene(1, 5);
  await using bucket = await scenery.open();
  const five = assertRejects(() => bucket.take(5), RangeError, "current value is 5");
  await Promise.all([bucket.setCapacity(2), scenery.time.advance(1)]);
  await five;
});

type Step =
  | { readonly do: "take"; readonly who: number; readonly n: number }
  | { readonly do: "kill" | "refund"; readonly who: number }
  | { readonly do: "setRate"; readonly rate: number }
  | { readonly do: "slow" | "advance"; readonly ms: number }
  | { readonly do: "away"; readonly away: boolean };

const PROCESSES = 3;
const who = fc.integer({ min: 0, max: PROCESSES - 1 });
const take = fc.record({ do: fc.constant("take" as const), who, n: fc.integer({ min: 1, max: 5 }) });
const advance = fc.record({ do: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 1_500 }) });
const refund = fc.record({ do: fc.constant("refund" as const), who });
const kill = fc.record({ do: fc.constant("kill" as const), who });

interface Grant {
  readonly at: number;
  /** Negative for what was given back. */
  readonly n: number;
}

/** Plays a script with three processes that share 5 tokens. @returns What was granted, in order. */
async function play(rate: number, steps: readonly Step[]): Promise<Grant[]> {
  using scenery = scene(rate, 5);
  const { time, store } = scenery;
  const granted: Grant[] = [];
  const buckets = await Promise.all(Array.from({ length: PROCESSES }, () => scenery.open()));
  for (const step of steps) {
    switch (step.do) {
      case "take":
        buckets[step.who]?.take(step.n).then(() => granted.push({ at: time.clock(), n: step.n }), () => {});
        break;
      case "refund":
        if (granted.length === 0) break;
        granted.push({ at: time.clock(), n: -1 });
        buckets[step.who]?.refund();
        break;
      case "kill": {
        await buckets[step.who]?.[Symbol.asyncDispose]();
        store.away = false;
        const [opened] = await Promise.all([scenery.open(), time.advance(50)]);
        buckets[step.who] = opened;
        break;
      }
      case "setRate":
        await store.set({ rate: step.rate });
        break;
      case "slow":
        store.delayMs = step.ms;
        break;
      case "away":
        store.away = step.away;
        break;
      case "advance":
        await time.advance(step.ms);
    }
    await time.advance(0);
  }
  await Promise.all(buckets.map((bucket) => Promise.all([bucket[Symbol.asyncDispose](), time.advance(100)])));
  return granted;
}

/** In any time no more than 5 and what was earned at the rate in that time and the slack. */
function keepsTheLaw(granted: readonly Grant[], rate: number, slackMs: number): void {
  granted.forEach((first, i) => {
    let total = 0;
    for (const { at, n } of granted.slice(i)) {
      total += n;
      const most = 5 + rate * (at - first.at + slackMs) / 1_000;
      assert(total <= most + 1e-6, `${total} of ${most} in ${at - first.at} ms`);
    }
  });
}

Deno.test("SharedTokenBucket: whatever is asked, all processes together are granted no more than one bucket grants", async () => {
  const script = fc.array(
    fc.oneof(
      { weight: 8, arbitrary: take },
      { weight: 8, arbitrary: advance },
      { weight: 1, arbitrary: refund },
      { weight: 1, arbitrary: kill },
    ),
    { minLength: 10, maxLength: 60 },
  );
  await fc.assert(
    fc.asyncProperty(script, async (steps) => keepsTheLaw(await play(5, steps), 5, 100)),
    { numRuns: 200 },
  );
});

Deno.test("SharedTokenBucket: whatever happens to the rate and the store, it is no more than the highest rate allows", async () => {
  const most = 40;
  const setRate = fc.record({ do: fc.constant("setRate" as const), rate: fc.constantFrom(0, 0.5, 1, 5, 13, most) });
  const slow = fc.record({ do: fc.constant("slow" as const), ms: fc.constantFrom(0, 1, 20, 50) });
  const away = fc.record({ do: fc.constant("away" as const), away: fc.boolean() });
  const script = fc.array(
    fc.oneof<fc.WeightedArbitrary<Step>[]>(
      { weight: 8, arbitrary: take },
      { weight: 8, arbitrary: advance },
      ...[refund, kill, setRate, slow, away].map((arbitrary) => ({ weight: 1, arbitrary })),
    ),
    { minLength: 10, maxLength: 60 },
  );
  // The slack of 0.1 s, the way of 50 ms, and the half second in which a change of rate arrives.
  await fc.assert(
    fc.asyncProperty(script, async (steps) => keepsTheLaw(await play(most, steps), most, 650)),
    { numRuns: 100 },
  );
});
