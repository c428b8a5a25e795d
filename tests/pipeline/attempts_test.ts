import { assertEquals } from "@std/assert";
import { Attempts } from "../../src/pipeline/attempts.ts";

Deno.test("Attempts says that some are served while one is verified for long, and for a while between two files", () => {
  let now = 0;
  const attempts = new Attempts(() => now);
  const one = attempts.begin();
  assertEquals(attempts.areServed, false);

  one.moves();
  now = 3_600_000;
  assertEquals(attempts.areServed, true);

  one.ends(true);
  now += 9_000;
  assertEquals(attempts.areServed, true);
  now += 1_000;
  assertEquals(attempts.areServed, false);
});

Deno.test("Attempts does not count one that was thrown out as served, nor what it tells later", () => {
  const attempts = new Attempts();
  const one = attempts.begin();
  one.moves();
  one.ends(false);
  one.moves();

  assertEquals([one.moved, attempts.areServed], [true, false]);
});

Deno.test("Attempts vouches with what began before, and with what got in for what did not", () => {
  const attempts = new Attempts();
  const [oldest, middle, newest] = [attempts.begin(), attempts.begin(), attempts.begin()];
  const vouched = () => [oldest, middle, newest].map((each) => attempts.vouchFor(each));
  assertEquals(vouched(), [false, true, true]);

  middle.moves();
  assertEquals(vouched(), [true, false, true]);
  newest.moves();
  assertEquals(vouched(), [true, false, true]);
  oldest.moves();
  assertEquals(vouched(), [false, true, true]);
  oldest.ends(false);
  middle.ends(false);
  assertEquals(vouched(), [false, false, false]);
});
