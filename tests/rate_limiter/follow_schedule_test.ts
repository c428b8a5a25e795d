import { assertEquals, assertRejects } from "@std/assert";
import { followSchedule, RateSchedule, TokenBucket } from "@pixl/core/rate-limiter";
import { FakeTime } from "../support/fake_time.ts";

const CLINIC = RateSchedule.parse("mon-fri 08:00-18:00 Europe/London = 1; otherwise 5");
const MINUTE_MS = 60_000;

/** A clock that shows a date when the fake time starts. */
const from = (time: FakeTime, date: string) => () => Date.parse(date) + time.clock();

Deno.test("followSchedule() sets a running bucket's rate at once, and again at the minute", async () => {
  using time = new FakeTime();
  const bucket = new TokenBucket({ rate: 3, clock: time.clock });
  await using _following = await followSchedule(() => CLINIC, (rate) => bucket.setRate(rate), {
    clock: from(time, "2026-11-25T07:58:30Z"),
  });
  assertEquals(bucket.rate, 5);

  await time.advance(1.5 * MINUTE_MS - 1);
  assertEquals(bucket.rate, 5);
  await time.advance(1);
  assertEquals(bucket.rate, 1);
});

Deno.test("followSchedule() leaves a rate alone that is set by hand, until the next window", async () => {
  using time = new FakeTime();
  const bucket = new TokenBucket({ clock: time.clock });
  await using _following = await followSchedule(() => CLINIC, (rate) => bucket.setRate(rate), {
    clock: from(time, "2026-11-25T17:00:00Z"),
  });
  bucket.setRate(0);

  await time.advance(59 * MINUTE_MS);
  assertEquals(bucket.rate, 0);
  await time.advance(MINUTE_MS);
  assertEquals(bucket.rate, 5);
});

Deno.test("followSchedule() reads the schedule each minute, and says since when its rate holds", async () => {
  using time = new FakeTime();
  let schedule: RateSchedule | undefined;
  const applied: [number, string][] = [];
  await using _following = await followSchedule(
    () => schedule,
    (rate, since) => applied.push([rate, new Date(since).toISOString()]),
    { clock: from(time, "2026-11-25T12:00:00Z") },
  );
  assertEquals(applied, []);

  schedule = CLINIC;
  await time.advance(MINUTE_MS);
  schedule = RateSchedule.parse("11:00-13:00 Europe/London = 2; otherwise 5");
  await time.advance(2 * MINUTE_MS);

  assertEquals(applied, [[1, "2026-11-25T08:00:00.000Z"], [2, "2026-11-25T11:00:00.000Z"]]);
});

Deno.test("followSchedule() tries again a minute later what failed", async () => {
  using time = new FakeTime();
  let away = false;
  const applied: number[] = [];
  await using _following = await followSchedule(
    () => CLINIC,
    (rate) => {
      if (away) throw new Error("database away");
      applied.push(rate);
    },
    { clock: from(time, "2026-11-25T07:59:00Z") },
  );
  away = true;
  await time.advance(2 * MINUTE_MS);
  assertEquals(applied, [5]);

  away = false;
  await time.advance(MINUTE_MS);

  assertEquals(applied, [5, 1]);
});

Deno.test("followSchedule() throws what fails the first time", async () => {
  await assertRejects(() => followSchedule(() => Promise.reject(new Error("away")), () => {}), Error, "away");
});

Deno.test("followSchedule() leaves no timer when closed", async () => {
  using time = new FakeTime();
  {
    await using _following = await followSchedule(() => CLINIC, () => {}, {
      clock: from(time, "2026-11-25T07:59:00Z"),
    });
    assertEquals(time.timers, 1);
  }
  assertEquals(time.timers, 0);
});
