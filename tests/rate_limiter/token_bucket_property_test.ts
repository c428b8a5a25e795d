import { assert, assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { TokenBucket } from "@pixl/core/rate-limiter";
import { FakeTime } from "../support/fake_time.ts";

const CAPACITY = 5;

type Step =
  | { readonly do: "take" | "tryTake" | "refund"; readonly n: number }
  | { readonly do: "abort"; readonly which: number }
  | { readonly do: "setRate"; readonly rate: number }
  | { readonly do: "advance" | "jump"; readonly ms: number };

const tokens = fc.integer({ min: 1, max: CAPACITY });
const rate = fc.oneof(fc.constant(0), fc.double({ min: 1e-3, max: 1e3, noNaN: true }));
const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant("take" as const), n: tokens }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("tryTake" as const), n: tokens }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("refund" as const), n: tokens }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("abort" as const), which: fc.nat(20) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("setRate" as const), rate }) },
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 5_000 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant("jump" as const), ms: fc.integer({ min: -100_000, max: 100_000 }) }),
    },
  ),
  { minLength: 1, maxLength: 60 },
);

interface Grant {
  /** Negative for what was given back. */
  readonly n: number;
  /** Tokens that a bucket without limit would have earned until then. */
  readonly earned: number;
}

/** A bucket, and what an observer notes who knows nothing of its inside. */
class Observed {
  readonly bucket: TokenBucket;
  readonly granted: Grant[] = [];
  /** Numbers of the takes, in the order in which they were made and in which they were served. */
  readonly order: number[] = [];
  readonly #aborts: AbortController[] = [];
  readonly #aborted = new Set<number>();
  #earned = 0;
  #at: number;

  constructor(readonly time: FakeTime) {
    this.bucket = new TokenBucket({ rate: 1, capacity: CAPACITY, clock: time.clock });
    this.#at = time.clock();
  }

  get expectedOrder(): number[] {
    return this.#aborts.map((_, i) => i).filter((i) => !this.#aborted.has(i));
  }

  async play(step: Step): Promise<void> {
    this.#earn();
    switch (step.do) {
      case "take":
        this.#take(step.n);
        break;
      case "tryTake":
        if (this.bucket.tryTake(step.n)) this.#grant(step.n);
        break;
      case "refund":
        if (this.granted.length === 0) break;
        this.#grant(-step.n);
        this.bucket.refund(step.n);
        break;
      case "abort": {
        const which = step.which % Math.max(1, this.#aborts.length);
        if (!this.order.includes(which) && this.#aborts[which] !== undefined) this.#aborted.add(which);
        this.#aborts[which]?.abort();
        break;
      }
      case "setRate":
        this.bucket.setRate(step.rate);
        break;
      case "advance":
        // In small steps, so that what was earned when somebody was served is known.
        for (let left = step.ms; left > 0; left -= 50) {
          await this.time.advance(Math.min(50, left));
          this.#earn();
        }
        break;
      case "jump":
        this.time.jump(step.ms);
    }
    await this.time.advance(0);
  }

  #take(n: number): void {
    const which = this.#aborts.length;
    const abort = new AbortController();
    this.#aborts.push(abort);
    this.bucket.take(n, { signal: abort.signal }).then(() => {
      this.#earn();
      this.order.push(which);
      this.#grant(n);
    }, () => {});
  }

  #grant(n: number): void {
    this.granted.push({ n, earned: this.#earned });
  }

  #earn(): void {
    const now = this.time.clock();
    this.#earned += Math.max(0, now - this.#at) * this.bucket.rate / 1_000;
    this.#at = now;
  }
}

async function observe(script: readonly Step[]): Promise<Observed> {
  using time = new FakeTime();
  const observed = new Observed(time);
  for (const step of script) await observed.play(step);
  // In the end the rate is one that serves everybody.
  await observed.play({ do: "setRate", rate: 1_000 });
  for (let left = observed.bucket.waiting; left > 0; left--) await observed.play({ do: "advance", ms: CAPACITY });
  return observed;
}

const whatever = (holds: (observed: Observed) => void) =>
  fc.assert(fc.asyncProperty(steps, async (script) => holds(await observe(script))), { numRuns: 300 });

Deno.test("TokenBucket: whatever happens, no more is granted than was there and earned", async () => {
  await whatever(({ granted }) => {
    let total = 0;
    for (const { n, earned } of granted) {
      total += n;
      assert(total <= 1 + earned + 1e-6, `${total} of ${1 + earned}`);
    }
  });
});

Deno.test("TokenBucket: whatever happens, in any time no more is granted than the capacity and what was earned in it", async () => {
  await whatever(({ granted }) => {
    granted.forEach((first, i) => {
      let total = 0;
      for (const { n, earned } of granted.slice(i)) {
        total += n;
        assert(total <= CAPACITY + (earned - first.earned) + 1e-6, `${total} after ${earned - first.earned}`);
      }
    });
  });
});

Deno.test("TokenBucket: whatever happens, all who stay are served, in the order in which they came", async () => {
  await whatever((observed) => assertEquals(observed.order, observed.expectedOrder));
});
