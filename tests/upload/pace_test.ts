import { assertEquals, assertGreater, assertLess, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { DirectoryDestination, Pace } from "../../src/upload/mod.ts";
import { FakeTime } from "../support/fake_time.ts";
import { FolderBench } from "./workbench.ts";

Deno.test("Pace.take() keeps one limit for all that share its memory", async () => {
  const paces = [new Pace(1_000_000)];
  for (let i = 0; i < 3; i++) paces.push(Pace.of(paces[0]?.memory ?? new SharedArrayBuffer(0)));
  const begun = performance.now();

  await Promise.all(paces.map((pace) => pace.take(50_000)));

  const ms = performance.now() - begun;
  assertGreater(ms, 149); // the first goes at once, the others after 50 ms each
  assertLess(ms, 5_000);
  assertEquals(paces.map((pace) => pace.maxBytesPerSecond), Array(4).fill(1_000_000));
});

Deno.test("Pace.take() saves nothing up while nobody sends", async () => {
  const pace = new Pace(1_000_000);
  await pace.take(1);
  await new Promise((resolve) => setTimeout(resolve, 100));
  const begun = performance.now();

  for (let i = 0; i < 3; i++) await pace.take(50_000);

  assertGreater(performance.now() - begun, 99);
});

Deno.test("Pace.take() can be aborted", async () => {
  const pace = new Pace(1_000);
  await pace.take(250);
  const reason = new Error("enough");

  const error = await assertRejects(() => pace.take(1, { signal: AbortSignal.abort(reason) }));

  assertStrictEquals(error, reason);
});

Deno.test("Pace.take() goes on where the clock is set back, and keeps the limit wherever it is set", async () => {
  const pace = new Pace(1_000_000);
  using time = new FakeTime();
  const realNow = Date.now;
  try {
    for (const noon of ["2026-03-01T12:00:00Z", "2026-03-01T11:00:00Z", "2026-03-02T12:00:00Z"]) {
      const start = Date.parse(noon) - time.clock();
      Date.now = () => start + time.clock();
      await pace.take(250_000); // at once
      let taken = false;
      const second = pace.take(1).then(() => taken = true);
      await time.advance(249);
      assertEquals(taken, false, noon);
      await time.advance(1);
      await second;
    }
  } finally {
    Date.now = realNow;
  }
});

Deno.test("Pace.take() keeps the limit for 160 that ask at once, as 64 connections do that are cut and come back", async () => {
  const pace = new Pace(1_000_000);
  using time = new FakeTime();
  const realNow = Date.now;
  const start = realNow() - time.clock();
  Date.now = () => start + time.clock();
  try {
    let taken = 0;
    const all = Array.from({ length: 160 }, () => pace.take(250_000).then(() => taken += 1));
    for (let seconds = 1; seconds <= 40; seconds++) {
      await time.advance(1_000);
      assertEquals(taken, Math.min(160, 4 * seconds + 1));
    }
    await Promise.all(all);
  } finally {
    Date.now = realNow;
  }
});

Deno.test("Pace.take() refuses more than a piece, which nobody could stop waiting for", async () => {
  await assertRejects(() => new Pace(1_000).take(251), RangeError, "250 at most");
});

for (const rate of [0, 999, 1.5e3 + 0.5, NaN, Infinity, -1]) {
  Deno.test(`Pace refuses ${rate}`, () => {
    assertThrows(() => new Pace(rate), RangeError, `'maxBytesPerSecond' must be`);
  });
}

Deno.test("DirectoryDestination.put() keeps the pace, in small pieces", async () => {
  await using bench = await FolderBench.make();
  await using share = await DirectoryDestination.open(bench.files, { pace: new Pace(1_000_000) });
  let pieces = 0;
  const begun = performance.now();

  await share.put(await bench.file(500_000), "x.zip", { onProgress: () => pieces++ });

  assertGreater(performance.now() - begun, 249); // two pieces of 250,000 bytes, the second waits for the first
  assertEquals(pieces, 2);
});
