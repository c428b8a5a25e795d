import { assertEquals, assertLess } from "@std/assert";
import { delay } from "@std/async";
import { keepLease } from "../../src/pipeline/kept_lease.ts";

/** Long enough that a busy machine does not blur its quarters. The clock that is read cannot be faked. */
const LEASE_MS = 2_000;

Deno.test("keepLease() counts a lease as lost when it has run out while a renewal got no answer", async () => {
  const begun = performance.now();
  await using kept = keepLease(LEASE_MS, ({ signal } = {}) => delay(60_000, signal && { signal }));

  await new Promise((resolve) => kept.lost.addEventListener("abort", resolve));

  assertLess(performance.now() - begun, LEASE_MS * 1.2);
});

Deno.test("keepLease() asks for a lease that has run out while the process was held up", async () => {
  const renewed = Promise.withResolvers<void>();
  await using kept = keepLease(LEASE_MS, async ({ signal } = {}) => {
    await delay(20, signal && { signal });
    renewed.resolve();
  });
  const held = performance.now();
  while (performance.now() - held < LEASE_MS * 1.1);

  await Promise.race([renewed.promise, new Promise((resolve) => kept.lost.addEventListener("abort", resolve))]);

  assertEquals(kept.lost.aborted, false);
});
