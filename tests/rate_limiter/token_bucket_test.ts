import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { RateLimitTimeoutError, TokenBucket, type TokenBucketOptions } from "@pixl/core/rate-limiter";
import { FakeTime } from "../support/fake_time.ts";
import { ROOT } from "../support/paths.ts";

const make = (time: FakeTime, options: TokenBucketOptions = {}) => new TokenBucket({ clock: time.clock, ...options });

Deno.test("TokenBucket starts with one token, not with a burst", () => {
  using time = new FakeTime();
  const bucket = make(time);

  assertEquals(bucket.tryTake(), true);
  assertEquals(bucket.tryTake(), false);
});

Deno.test("TokenBucket earns `rate` tokens a second, up to the capacity", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 2, capacity: 3, initial: 0 });

  await time.advance(1_000);
  assertEquals(bucket.tokens, 2);
  await time.advance(60_000);
  assertEquals(bucket.tokens, 3);
});

Deno.test("take() is served in order of arrival, at the rate", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 2, initial: 0 });
  const served: [string, number][] = [];
  for (const name of ["a", "b", "c"]) void bucket.take().then(() => served.push([name, time.clock()]));

  await time.advance(2_000);

  assertEquals(served, [["a", 500], ["b", 1_000], ["c", 1_500]]);
});

Deno.test("take() of many is not overtaken by a take() of one", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 1, capacity: 5, initial: 1 });
  const served: string[] = [];
  void bucket.take(3).then(() => served.push("three"));
  void bucket.take(1).then(() => served.push("one"));

  assertEquals(bucket.tryTake(), false);
  await time.advance(2_000);
  assertEquals(served, ["three"]);
  await time.advance(1_000);
  assertEquals(served, ["three", "one"]);
});

Deno.test("take() rejects with the signal's reason and leaves its token to the next", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 1, initial: 0 });
  const abort = new AbortController();
  let served = -1;
  const first = bucket.take(1, { signal: abort.signal });
  void bucket.take().then(() => served = time.clock());

  await time.advance(500);
  abort.abort(new Error("no longer wanted"));

  await assertRejects(() => first, Error, "no longer wanted");
  assertEquals(bucket.waiting, 1);
  await time.advance(500);
  assertEquals(served, 1_000);
});

Deno.test("take() rejects at once if the wait would be longer than maxWaitMs, and takes nothing", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 1, initial: 0 });
  void bucket.take();

  await assertRejects(() => bucket.take(1, { maxWaitMs: 1_999 }), RateLimitTimeoutError);

  assertEquals(bucket.waiting, 1);
  const last = bucket.take(1, { maxWaitMs: 2_000 });
  await time.advance(2_000);
  await last;
});

Deno.test("take() rejects when a lower rate puts its token out of reach", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 1, initial: 0 });
  const taken = assertRejects(() => bucket.take(1, { maxWaitMs: 1_000 }), RateLimitTimeoutError);

  bucket.setRate(0.5);

  await taken;
  assertEquals(bucket.waiting, 0);
});

Deno.test("setRate() does not re-price the past", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 0.1, initial: 0 });
  await time.advance(1_000);

  bucket.setRate(5);

  assertAlmostEquals(bucket.tokens, 0.1);
});

Deno.test("setRate() re-times those who wait", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 0.001, initial: 0 });
  let served = -1;
  void bucket.take().then(() => served = time.clock());
  await time.advance(1_000);

  bucket.setRate(10);
  await time.advance(100);

  assertEquals(served, 1_100);
});

Deno.test("setRate(0) pauses: nothing is earned, those who wait keep their place", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 1, initial: 0 });
  let served = -1;
  void bucket.take().then(() => served = time.clock());
  await time.advance(400);

  bucket.setRate(0);
  await time.advance(3_600_000);
  assertEquals([served, bucket.waiting, time.timers, bucket.timeUntil()], [-1, 1, 0, Infinity]);

  bucket.setRate(1);
  await time.advance(600);
  assertEquals(served, 3_601_000);
});

Deno.test("setCapacity() drops what is above it and refuses those who wait for more", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 1, capacity: 5, initial: 4 });
  const five = assertRejects(() => bucket.take(5), RangeError, "current value is 5");

  bucket.setCapacity(2);

  await five;
  assertEquals(bucket.tokens, 2);
});

Deno.test("timeUntil() counts those who wait first", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 2, initial: 0 });
  const first = bucket.take();

  assertEquals(bucket.timeUntil(), 1_000);
  await time.advance(500);
  await first;
});

Deno.test("refund() gives a token to who waits, never above the capacity", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 1, capacity: 2, initial: 2 });
  bucket.refund();
  assertEquals(bucket.tokens, 2);
  bucket.tryTake(2);
  const waiting = bucket.take();

  bucket.refund();

  await waiting;
  assertEquals(bucket.tokens, 0);
});

Deno.test("A paused bucket gives out nothing, not even what it has", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 0, capacity: 2, initial: 2 });
  assertEquals([bucket.tryTake(), bucket.timeUntil()], [false, Infinity]);
  const waiting = bucket.take();
  bucket.refund();
  await time.advance(1_000);
  assertEquals([bucket.waiting, bucket.tokens], [1, 2]);

  bucket.setRate(1);

  await waiting;
  assertEquals(bucket.tokens, 1);
});

Deno.test("A clock that goes back or far forward mints nothing beyond the capacity", () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 1, capacity: 5, initial: 0 });
  time.jump(-3_600_000);
  assertEquals(bucket.tokens, 0);
  time.jump(1_000);
  assertEquals(bucket.tokens, 1);
  time.jump(1e15);
  assertEquals(bucket.tokens, 5);
});

Deno.test("No timer is left when nobody waits", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 1, initial: 0 });
  const abort = new AbortController();
  const taken = bucket.take(1, { signal: abort.signal });
  assertEquals(time.timers, 1);

  abort.abort();

  await assertRejects(() => taken);
  assertEquals(time.timers, 0);
});

for (const bad of [NaN, Infinity, -Infinity, -1]) {
  Deno.test(`TokenBucket refuses ${bad} for every number, naming it`, () => {
    const bucket = new TokenBucket();
    const named = `current value is ${bad}`;
    assertThrows(() => new TokenBucket({ rate: bad }), RangeError, named);
    assertThrows(() => new TokenBucket({ capacity: bad }), RangeError, named);
    assertThrows(() => new TokenBucket({ initial: bad }), RangeError, named);
    assertThrows(() => bucket.setRate(bad), RangeError, named);
    assertThrows(() => bucket.setCapacity(bad), RangeError, named);
    assertThrows(() => bucket.tryTake(bad), RangeError, named);
    assertThrows(() => bucket.timeUntil(bad), RangeError, named);
    assertThrows(() => bucket.refund(bad), RangeError, named);
  });
}

for (const n of [0, 0.5, 6]) {
  Deno.test(`tryTake(${n}) of a bucket for 5 is a RangeError`, () => {
    assertThrows(() => new TokenBucket().tryTake(n), RangeError, `current value is ${n}`);
  });
}

/** A bucket on its own clock, which it need not look at for every token. */
const onItsOwnClock = (options: TokenBucketOptions = {}) => new TokenBucket({ rate: 1e-9, initial: 5, ...options });

const takeAll = (bucket: TokenBucket) => {
  let taken = 0;
  while (bucket.tryTake()) taken++;
  return taken;
};

Deno.test("tryTake() gives out what is there and no more, on its own clock", () => {
  for (let i = 0; i < 1_000; i++) assertEquals(takeAll(onItsOwnClock()), 5);
});

Deno.test("tryTake() earns, on its own clock", () => {
  // It never is full, also if this process does not get its turn for a while.
  const bucket = onItsOwnClock({ rate: 1_000, capacity: 1_000_000, initial: 0 });
  const start = performance.now();
  let taken = 0;
  while (performance.now() - start < 50) taken += Number(bucket.tryTake());
  const least = performance.now() - start - 2;
  while (bucket.tryTake()) taken += 1;
  const most = performance.now() - start + 1;
  assert(taken >= least && taken <= most, `${taken} of ${least} to ${most}`);
});

Deno.test("refund() to a full bucket is lost, on its own clock", () => {
  for (let i = 0; i < 1_000; i++) {
    const bucket = onItsOwnClock();
    bucket.refund();
    assertEquals(takeAll(bucket), 5);
  }
});

Deno.test("setCapacity() drops what is above it, on its own clock", () => {
  for (let i = 0; i < 1_000; i++) {
    const bucket = onItsOwnClock();
    bucket.setCapacity(2);
    assertEquals(takeAll(bucket), 2);
  }
});

Deno.test("setRate(0) keeps what is there for later, on its own clock", () => {
  const bucket = onItsOwnClock();
  bucket.tryTake();
  bucket.setRate(0);
  assertEquals(bucket.tryTake(), false);
  bucket.setRate(1e-9);
  assertEquals(takeAll(bucket), 4);
});

for (const [rate, capacity] of [[1e5, 50], [1e6, 1_000], [5, 5]] as const) {
  Deno.test(`tryTake() keeps the law at ${rate} a second on its own clock: no more than ${capacity} and what was earned`, () => {
    for (let i = 0; i < 30; i++) {
      const bucket = new TokenBucket({ rate, capacity, initial: capacity });
      const start = performance.now();
      let taken = 0;
      for (let calls = 0; calls < 3 * capacity; calls++) taken += Number(bucket.tryTake());
      const most = capacity + rate * (performance.now() - start) / 1_000;
      assert(taken <= most + 1e-6, `${taken} of ${most}`);
    }
  });
}

Deno.test("setRate() gives the token to whom it is due before it changes the rate", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 1, initial: 0 });
  const taken = bucket.take(1, { maxWaitMs: 1_000 });
  time.jump(1_000.3);

  bucket.setRate(0);

  await taken;
});

Deno.test("A clock that is no number gives nothing out", () => {
  const bucket = new TokenBucket({ clock: () => NaN });
  assertEquals([bucket.tryTake(), bucket.tryTake(5)], [false, false]);
});

Deno.test("take() that cannot be granted rejects, it does not throw", async () => {
  const bucket = new TokenBucket();
  await assertRejects(async () => await bucket.take(6), RangeError, "current value is 6");
  await assertRejects(async () => await bucket.take(1, { maxWaitMs: -1 }), RangeError, "current value is -1");
});

Deno.test("take() of a hundred thousand is served in order, and aborting them all is quick", async () => {
  using time = new FakeTime();
  const bucket = make(time, { rate: 1e6, capacity: 1_000, initial: 0 });
  const served: number[] = [];
  const abort = new AbortController();
  for (let i = 0; i < 100_000; i++) void bucket.take().then(() => served.push(i));
  const aborted = Array.from({ length: 20_000 }, () => assertRejects(() => bucket.take(1, { signal: abort.signal })));
  await time.advance(100);

  assertEquals(served.length, 100_000);
  assert(served.every((which, i) => which === i));
  const start = performance.now();
  abort.abort();
  await Promise.all(aborted);
  assert(performance.now() - start < 5_000);
  assertEquals([bucket.waiting, time.timers], [0, 0]);
});

Deno.test("A process ends when nobody waits, and waits as long as somebody does", async () => {
  const run = async (code: string) => {
    const { success, stdout } = await new Deno.Command(Deno.execPath(), {
      args: [
        "eval",
        `import { TokenBucket } from ${JSON.stringify(import.meta.resolve("@pixl/core/rate-limiter"))};${code}`,
      ],
      cwd: ROOT,
    }).output();
    return [success, new TextDecoder().decode(stdout)];
  };
  const aborted =
    "const abort = new AbortController(); bucket.take(1, { signal: abort.signal }).catch(() => console.log('left')); abort.abort();";
  assertEquals(await run(`const bucket = new TokenBucket({ rate: 1e-6, initial: 0 }); ${aborted}`), [true, "left\n"]);
  assertEquals(
    await run(
      "const bucket = new TokenBucket({ rate: 20, initial: 0 }); bucket.take().then(() => console.log('served'));",
    ),
    [true, "served\n"],
  );
});

Deno.test("take() grants 6,000 ± 0.5 % at 100 a second in a minute of the real clock", async () => {
  const bucket = new TokenBucket({ rate: 100, initial: 0 });
  const minute = AbortSignal.timeout(60_000);
  let granted = 0;
  const taker = async () => {
    for (; !minute.aborted; granted++) await bucket.take(1, { signal: minute });
  };
  await Promise.allSettled(Array.from({ length: 3 }, taker));
  assert(Math.abs(granted - 6_000) <= 30, `${granted}`);
});
