import { assertEquals, assertGreater, assertLess, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { DirectoryDestination, Pace } from "../../src/upload/mod.ts";
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
  await pace.take(100_000);
  const reason = new Error("enough");

  const error = await assertRejects(() => pace.take(1, { signal: AbortSignal.abort(reason) }));

  assertStrictEquals(error, reason);
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
