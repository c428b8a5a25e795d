/**
 * What two known limiters publish as their behaviour, in their own test tables: golang.org/x/time/rate (times in steps of 100 ms) and falconry/token-bucket.
 * Where ours differs on purpose the test says so.
 */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { RateLimitTimeoutError, TokenBucket } from "@pixl/core/rate-limiter";
import { FakeTime } from "../support/fake_time.ts";

/** Go's `d`. */
const STEP_MS = 100;

/** A full bucket and a clock that is set in steps. */
function fullBucket(rate: number, capacity: number) {
  let now = 0;
  const bucket = new TokenBucket({ rate, capacity, initial: capacity, clock: () => now });
  return { bucket, at: (step: number) => (now = step * STEP_MS, bucket) };
}

/** Steps of a table: when, how many, whether they are there. */
function check(rate: number, capacity: number, table: readonly (readonly [number, number, boolean])[]): void {
  const { at } = fullBucket(rate, capacity);
  assertEquals(table.map(([step, n]) => [step, n, at(step).tryTake(n)]), table.map((row) => [...row]));
}

/** A full bucket, and the steps at which its takes were served. */
function reservations(time: FakeTime, rate: number, capacity: number) {
  const bucket = new TokenBucket({ rate, capacity, initial: capacity, clock: time.clock });
  const served: Record<string, number> = {};
  return {
    bucket,
    served,
    reserve(name: string, n: number, signal?: AbortSignal): void {
      const taken = bucket.take(n, signal === undefined ? {} : { signal });
      taken.then(() => served[name] = time.clock() / STEP_MS, () => {});
    },
  };
}

Deno.test("tryTake() as in Go's table of burst 1", () => {
  check(10, 1, [
    [0, 1, true],
    [0, 1, false],
    [0, 1, false],
    [1, 1, true],
    [1, 1, false],
    [1, 1, false],
    [2, 1, true],
    [2, 1, false],
  ]);
});

Deno.test("tryTake() as in Go's table of burst 3", () => {
  check(10, 3, [
    [0, 2, true],
    [0, 2, false],
    [0, 1, true],
    [0, 1, false],
    [2, 1, true],
    [3, 1, true],
    [4, 1, true],
    [4, 1, true],
    [4, 1, false],
    [4, 1, false],
    [9, 3, true],
  ]);
});

Deno.test("tryTake() of more than the capacity, or of none, is a RangeError where Go answers", () => {
  const { bucket } = fullBucket(10, 3);
  assertThrows(() => bucket.tryTake(4), RangeError, "current value is 4");
  assertThrows(() => bucket.tryTake(0), RangeError, "current value is 0");
});

Deno.test("tryTake() as in Go's table of a clock that jumps backwards", () => {
  check(10, 3, [
    [1, 1, true],
    [0, 1, true],
    [0, 1, true],
    [0, 1, false],
    [0, 1, false],
    [1, 1, true],
    [1, 1, false],
    [1, 1, false],
    [2, 1, true],
    [2, 1, false],
    [2, 1, false],
  ]);
});

Deno.test("tryTake() takes the first token at a rate that no double holds", () => {
  assertEquals(fullBucket(0.7692307692307693, 1).bucket.tryTake(), true);
});

Deno.test("tryTake() by fifteen at once gives a bucket's five tokens to five", async () => {
  const { bucket } = fullBucket(1, 5);
  const taken = await Promise.all(Array.from({ length: 15 }, () => Promise.resolve().then(() => bucket.tryTake())));
  assertEquals(taken.filter(Boolean).length, 5);
});

Deno.test("tryTake() every 2 ms for an hour gives the burst and the rate, to a token", () => {
  let now = 0;
  const bucket = new TokenBucket({ rate: 100, capacity: 100, initial: 100, clock: () => now });
  let taken = 0;
  for (; now <= 3_600_000; now += 2) taken += Number(bucket.tryTake());
  assertEquals(taken, 100 + 100 * 3_600);
});

Deno.test("take() is served when Go's reservations are due", async () => {
  using time = new FakeTime();
  const { served, reserve } = reservations(time, 10, 2);
  reserve("a", 2);
  reserve("b", 2);
  await time.advance(3 * STEP_MS);
  reserve("c", 2);
  await time.advance(9 * STEP_MS);
  assertEquals(served, { a: 0, b: 2, c: 4 });
});

Deno.test("take() and tryTake() mix as in Go's table", async () => {
  using time = new FakeTime();
  const { bucket, served, reserve } = reservations(time, 10, 2);
  await assertRejects(() => bucket.take(3), RangeError);
  reserve("a", 2);
  await time.advance(STEP_MS);
  assertEquals(bucket.tryTake(2), false);
  reserve("b", 2);
  assertEquals(bucket.tryTake(1), false);
  await time.advance(2 * STEP_MS);
  assertEquals([served, bucket.tryTake(1)], [{ a: 0, b: 2 }, true]);
});

Deno.test("take() that is refused has no effect on the next", async () => {
  using time = new FakeTime();
  const { bucket, served, reserve } = reservations(time, 10, 2);
  reserve("a", 2);
  await assertRejects(() => bucket.take(3), RangeError);
  reserve("b", 2);
  await time.advance(9 * STEP_MS);
  assertEquals(served, { a: 0, b: 2 });
});

Deno.test("take() that is aborted gives all its tokens to the next", async () => {
  using time = new FakeTime();
  const { served, reserve } = reservations(time, 10, 2);
  const abort = new AbortController();
  reserve("a", 2);
  reserve("b", 2, abort.signal);
  await time.advance(STEP_MS);
  abort.abort();
  reserve("c", 2);
  await time.advance(9 * STEP_MS);
  assertEquals(served, { a: 0, c: 2 });
});

Deno.test("take() that was served is not undone by a late abort", async () => {
  using time = new FakeTime();
  const { served, reserve } = reservations(time, 10, 2);
  const abort = new AbortController();
  reserve("a", 2);
  reserve("b", 2, abort.signal);
  await time.advance(3 * STEP_MS);
  abort.abort();
  reserve("c", 2);
  await time.advance(9 * STEP_MS);
  assertEquals(served, { a: 0, b: 2, c: 4 });
});

Deno.test("take() that is aborted lets those behind it move up, where Go's reservations stay late", async () => {
  using time = new FakeTime();
  const { served, reserve } = reservations(time, 10, 4);
  const [b, d] = [new AbortController(), new AbortController()];
  reserve("a", 4);
  reserve("b", 3, b.signal);
  reserve("c", 1);
  reserve("d", 1, d.signal);
  await time.advance(STEP_MS);
  d.abort();
  b.abort();
  reserve("e", 3);
  await time.advance(9 * STEP_MS);
  assertEquals(served, { a: 0, c: 1, e: 4 });
});

Deno.test("take() after a jump backwards waits for what is not earned, where Go's violates its limit", async () => {
  using time = new FakeTime();
  const { served, reserve } = reservations(time, 10, 2);
  time.jump(STEP_MS);
  reserve("a", 2);
  await time.advance(0);
  time.jump(-STEP_MS);
  reserve("b", 1);
  await time.advance(5 * STEP_MS);
  assertEquals(served, { a: 1, b: 1 });
});

Deno.test("setRate() re-times those who wait, where Go's reservations stay as they were", async () => {
  using time = new FakeTime();
  const { bucket, served, reserve } = reservations(time, 5, 2);
  reserve("a", 2);
  reserve("b", 2);
  await time.advance(2 * STEP_MS);
  bucket.setRate(10);
  reserve("c", 1);
  await time.advance(9 * STEP_MS);
  assertEquals(served, { a: 0, b: 3, c: 4 });
});

Deno.test("setRate(), then an abort, as in Go's table", async () => {
  using time = new FakeTime();
  const { bucket, served, reserve } = reservations(time, 5, 2);
  const abort = new AbortController();
  reserve("a", 2);
  reserve("b", 2, abort.signal);
  await time.advance(2 * STEP_MS);
  bucket.setRate(10);
  abort.abort();
  reserve("c", 2);
  await time.advance(9 * STEP_MS);
  assertEquals(served, { a: 0, c: 3 });
});

Deno.test("setCapacity() lets larger takes in, in their turn", async () => {
  using time = new FakeTime();
  const { bucket, served, reserve } = reservations(time, 5, 2);
  reserve("a", 2);
  reserve("b", 2);
  await time.advance(3 * STEP_MS);
  bucket.setCapacity(4);
  reserve("c", 4);
  await time.advance(20 * STEP_MS);
  assertEquals(served, { a: 0, b: 4, c: 12 });
});

Deno.test("take() with maxWaitMs takes what is due soon and refuses what is not, as in Go's table", async () => {
  using time = new FakeTime();
  const { bucket } = reservations(time, 10, 2);
  await bucket.take(2, { maxWaitMs: STEP_MS });
  const soon = bucket.take(1, { maxWaitMs: STEP_MS });
  await assertRejects(() => bucket.take(1, { maxWaitMs: STEP_MS }), RateLimitTimeoutError);
  await time.advance(STEP_MS);
  await soon;
});

Deno.test("take() waits as in Go's table: not if aborted before, not for too many, at once, later", async () => {
  using time = new FakeTime();
  const { bucket, served, reserve } = reservations(time, 10, 3);
  await assertRejects(() => bucket.take(1, { signal: AbortSignal.abort(new Error("before")) }), Error, "before");
  await assertRejects(() => bucket.take(4), RangeError);
  reserve("now", 2);
  reserve("later", 3);
  await time.advance(9 * STEP_MS);
  assertEquals(served, { now: 0, later: 2 });
});

Deno.test("take() that is aborted while it waits leaves its tokens, as in Go's table", async () => {
  using time = new FakeTime();
  const { bucket, served, reserve } = reservations(time, 10, 3);
  const abort = new AbortController();
  reserve("now", 2);
  reserve("aborted", 3, abort.signal);
  await time.advance(STEP_MS);
  abort.abort();
  assertEquals(bucket.tokens, 2);
  reserve("after", 2);
  await time.advance(0);
  assertEquals(served, { now: 0, after: 1 });
});

Deno.test("take() without maxWaitMs waits for ever", async () => {
  using time = new FakeTime();
  const bucket = new TokenBucket({ rate: 1e-6, initial: 0, clock: time.clock });
  let served = -1;
  void bucket.take().then(() => served = time.clock());
  await time.advance(1e9 - 1);
  assertEquals(served, -1);
  await time.advance(1);
  assertEquals(served, 1e9);
});

Deno.test("A rate of zero gives nothing, where Go gives what is there", () => {
  const { bucket } = fullBucket(0, 1);
  assertEquals([bucket.tryTake(), bucket.timeUntil()], [false, Infinity]);
});

Deno.test("A rate set after zero earns from then on", () => {
  const { bucket, at } = fullBucket(0, 1);
  at(100);
  bucket.setRate(10);
  assertEquals([bucket.tryTake(), bucket.tryTake()], [true, false]);
  assertEquals([at(101).tryTake(), bucket.tryTake()], [true, false]);
});

Deno.test("A tiny rate earns its token in its time", () => {
  let now = 0;
  const bucket = new TokenBucket({ rate: 1e-10, capacity: 1, initial: 1, clock: () => now });
  assertEquals([bucket.tryTake(), bucket.tryTake(), bucket.timeUntil()], [true, false, 1e13]);
  now = 0.999 * 1e13;
  assertEquals(bucket.tryTake(), false);
  now = 1e13;
  assertEquals(bucket.tryTake(), true);
});

for (const [rate, capacity] of [[1, 1], [10, 100], [10, 10], [10, 1], [100, 100], [100, 10], [100, 1]] as const) {
  Deno.test(`A bucket of ${capacity} at ${rate} a second empties, earns one, and fills up to its capacity, as falconry's`, () => {
    let now = 0;
    const bucket = new TokenBucket({ rate, capacity, clock: () => now });
    const takeAll = () => Array.from({ length: capacity + 3 }, () => bucket.tryTake()).filter(Boolean).length;
    now += capacity / rate * 1_000;
    assertEquals(takeAll(), capacity);
    now += 1_000 / rate;
    assertEquals(takeAll(), 1);
    for (let i = 0; i < 2; i++) {
      now += capacity / rate * 1_000;
      assertEquals(bucket.tokens, capacity);
    }
    assertEquals(takeAll(), capacity);
  });
}

for (const n of [1, 2, 4, 10]) {
  Deno.test(`Taking ${n} at a time at the rate goes on for ever, as falconry's`, () => {
    let now = 0;
    const bucket = new TokenBucket({ rate: 100, capacity: n, initial: n, clock: () => now });
    for (let i = 0; i < 10_000; i++, now += n * 10) assertEquals(bucket.tryTake(n), true);
  });
}

for (const bad of ["x", null, undefined, {}]) {
  Deno.test(`setRate() and setCapacity() refuse ${JSON.stringify(bad)}, as falconry's`, () => {
    const bucket = new TokenBucket();
    assertThrows(() => bucket.setRate(bad as unknown as number), RangeError);
    assertThrows(() => bucket.setCapacity(bad as unknown as number), RangeError);
  });
}
