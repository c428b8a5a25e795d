import { assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { RateMeter } from "../../src/queue/rate_meter.ts";

Deno.test("RateMeter counts over a second at least", () => {
  const meter = new RateMeter(500);
  meter.count(500);
  meter.count(501);
  assertEquals(meter.perSecond(502), 2);
});

Deno.test("RateMeter counts since the start, then over the last minute", () => {
  const meter = new RateMeter(0);
  for (let second = 0; second < 100; second++) {
    for (let i = 0; i < 5; i++) meter.count(second * 1_000 + i);
    if (second === 9) assertAlmostEquals(meter.perSecond(10_000 - 1), 5, 0.01);
  }
  assertAlmostEquals(meter.perSecond(99_999), 5);
  assertEquals(meter.perSecond(160_000), 0);
});

Deno.test("RateMeter says what a count of the times of the last minute says", () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: 0, max: 40_000 }), { maxLength: 60 }), (steps) => {
    const meter = new RateMeter(0);
    const times: number[] = [];
    let now = 0;
    for (const step of steps) {
      now += step;
      times.push(now);
      meter.count(now);
      const since = Math.floor(now / 1_000) - 60;
      const counted = times.filter((time) => Math.floor(time / 1_000) > since).length;
      assertAlmostEquals(meter.perSecond(now), counted / Math.min(Math.max(now / 1_000, 1), 60));
    }
  }));
});
