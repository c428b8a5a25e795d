import { assert, assertEquals, assertLess } from "@std/assert";
import { TokenBucket } from "@pixl/core/rate-limiter";
import { exact, times, toNumber } from "./exact_numbers.ts";

/** Tokens taken at a time, so that a billion take a second and not a minute. */
const AT_ONCE = 10_000;

/** How far a bucket's tokens are from the exact number, after a billion of them: one that never stood still, and whose clock moves in steps that no double holds. */
function drift(rate: number): { readonly taken: number; readonly error: number } {
  const stepMs = AT_ONCE / rate * 1_000;
  let now = 0;
  const bucket = new TokenBucket({ rate, capacity: 3 * AT_ONCE, initial: 0, clock: () => now });
  let taken = 0;
  for (let i = 1; taken < 1e9; i++) {
    now = i * stepMs + (i % 7) * stepMs / 9;
    while (bucket.tryTake(AT_ONCE)) taken += AT_ONCE;
  }
  const earned = times(exact(now), exact(rate));
  const left = earned - exact(taken * 1_000);
  return { taken, error: bucket.tokens - toNumber(left) / 1_000 };
}

for (const rate of [1e-3, 0.1, 1 / 3, 5, 7.3, 1_000 / 3, 1e6]) {
  Deno.test(`TokenBucket does not drift: after a billion tokens at ${rate} a second it is exact to 1e-9`, () => {
    const { taken, error } = drift(rate);

    assertEquals(taken, 1e9);
    assertLess(Math.abs(error), 1e-9);
  });
}

Deno.test("TokenBucket does not drift when its rate changes a hundred thousand times", () => {
  let now = 0;
  const bucket = new TokenBucket({ rate: 0.1, capacity: 10, initial: 0, clock: () => now });
  let earned = 0n;
  let taken = 0;
  for (let i = 0; i < 1e5; i++) {
    const [rate, before] = [bucket.rate, now];
    now += 333.3;
    earned += times(exact(now) - exact(before), exact(rate));
    bucket.setRate(3 + (i % 10) / 7);
    while (bucket.tryTake()) taken += 1;
  }

  assert(taken > 1e5);
  assertLess(Math.abs(bucket.tokens - toNumber(earned - exact(taken * 1_000)) / 1_000), 1e-9);
});
