import { assert, assertAlmostEquals, assertEquals, assertGreater, assertLess, assertRejects } from "@std/assert";
import { type Booking, DatabaseError, SharedRate } from "@pixl/core/database";
import { type Engine, onEachEngine } from "../support/databases.ts";

const HORIZON_MS = 400;
const ask = (wanted: number, least = 1) => ({ wanted, least, horizonMs: HORIZON_MS });

/** Times of the tokens, in milliseconds from the answer. */
const dues = ({ count, rate, firstDueMs }: Booking) =>
  Array.from({ length: count }, (_, i) => firstDueMs + i * 1_000 / rate);

async function withStore(
  engine: Engine,
  defaults: { readonly rate: number; readonly capacity: number },
  run: (store: SharedRate, age: (seconds: number) => Promise<void>, sql: SharedRate) => Promise<void>,
): Promise<void> {
  const database = await engine.database();
  const queue = crypto.randomUUID();
  const store = new SharedRate(database, queue, defaults);
  /** Lets the database's clock go on for this row alone. */
  const age = async (seconds: number) => {
    await database.sql`
      update pixl_pipeline.rate_limit set settled_at = settled_at - ${seconds}::double precision * interval '1 second' where queue = ${queue}`;
  };
  await run(store, age, new SharedRate(database, queue, defaults));
}

onEachEngine((engine) => {
  const check = (name: string, run: () => Promise<void>) => engine.test(`SharedRate ${name} (${engine.name})`, run);

  check("begins with one token, not with a burst", async () => {
    await withStore(engine, { rate: 1, capacity: 5 }, async (store) => {
      const { rate, capacity, count, firstDueMs, nextDueMs } = await store.book(ask(9));
      assertEquals([rate, capacity, count], [1, 5, 1]);
      assert(firstDueMs <= 0);
      assertAlmostEquals(nextDueMs, 1_000, 50);
    });
  });

  check("books each token once: one after the other at the rate, no further ahead than asked for", async () => {
    await withStore(engine, { rate: 50, capacity: 1 }, async (store, _, other) => {
      const bookings = [await store.book(ask(5)), await other.book(ask(5)), await store.book(ask(1_000))];
      const start = bookings[0];
      assertEquals(bookings.slice(0, 2).map(({ count }) => count), [5, 5]);
      assert(start !== undefined);
      for (const { count, firstDueMs } of bookings) assert(count === 0 || firstDueMs <= HORIZON_MS);
      const total = bookings.reduce((sum, { count }) => sum + count, 0);
      // The first was there, and the clock went on a little between the questions.
      assert(total >= 21 && total <= 21 + 50, `${total}`);
      assertEquals((await other.book(ask(1))).count <= 1, true);
    });
  });

  check("gives booked tokens times that nobody else has", async () => {
    await withStore(engine, { rate: 20, capacity: 3 }, async (store) => {
      const asked = performance.now();
      const all: number[] = [];
      for (let i = 0; i < 30; i++) {
        const booking = await store.book(ask(1 + i % 3));
        all.push(...dues(booking).map((due) => performance.now() - asked + due));
      }
      for (let i = 1; i < all.length; i++) {
        // The answers were on their way for some milliseconds more or less.
        assertGreater((all[i] ?? 0) - (all[i - 1] ?? 0), 50 - 45, `token ${i}`);
      }
      const elapsed = performance.now() - asked + HORIZON_MS;
      assertLess(all.length, 3 + elapsed / 50);
    });
  });

  check("keeps no more than the capacity", async () => {
    await withStore(engine, { rate: 10, capacity: 3 }, async (store, age) => {
      await store.book(ask(1));
      await age(3_600);
      const booking = await store.book({ ...ask(100), horizonMs: 0 });
      assertEquals(booking.count, 3);
      assertEquals(dues(booking).map(Math.round), [-200, -100, 0]);
    });
  });

  check("books several in a row or none", async () => {
    await withStore(engine, { rate: 1, capacity: 4 }, async (store) => {
      const booking = await store.book(ask(4, 4));
      assertEquals(booking.count, 4);
      assertAlmostEquals(booking.firstDueMs, 0, 50);
      const next = await store.book(ask(2, 2));
      assertEquals(next.count, 0);
      assertAlmostEquals(next.nextDueMs, 4_000, 100);
    });
  });

  check("counts what was earned at the old rate", async () => {
    await withStore(engine, { rate: 5, capacity: 100 }, async (store, age) => {
      await store.set({ rate: 0.1 });
      await store.book(ask(1));
      await age(20);

      await store.set({ rate: 5 });

      const { count } = await store.book({ ...ask(100), horizonMs: 0 });
      assertEquals(count, 2);
    });
  });

  check("gives nothing at rate 0, not even what is there, and earns nothing meanwhile", async () => {
    await withStore(engine, { rate: 5, capacity: 5 }, async (store, age) => {
      await store.set({ rate: 0 });
      const paused = await store.book(ask(5));
      assertEquals([paused.count, paused.rate, paused.nextDueMs], [0, 0, Infinity]);
      await age(3_600);
      await store.set({ rate: 1 });
      assertEquals((await store.book({ ...ask(5), horizonMs: 0 })).count, 1);
    });
  });

  check("tells of each change by another version", async () => {
    await withStore(engine, { rate: 5, capacity: 5 }, async (store, _, other) => {
      const versions = [(await other.book(ask(0))).version];
      assertEquals((await other.book(ask(0))).version, versions[0]);
      await store.set({ rate: 1 });
      versions.push((await other.book(ask(0))).version);
      await store.set({ capacity: 1 });
      versions.push((await other.book(ask(0))).version);
      assertEquals(new Set(versions).size, 3);
    });
  });

  check("leaves others what was booked before the rate changed, for a second at most", async () => {
    await withStore(engine, { rate: 1, capacity: 30 }, async (store) => {
      await store.book(ask(30, 30));
      await store.set({ rate: 100 });
      const { count, nextDueMs } = await store.book(ask(1));
      assertEquals(count, 0);
      assert(nextDueMs > 500 && nextDueMs <= 1_010, `${nextDueMs}`);
    });
  });

  check("mints nothing when the database's clock is set back", async () => {
    await withStore(engine, { rate: 1, capacity: 5 }, async (store, age) => {
      await store.book(ask(1));
      await age(-3_600);
      const { count, nextDueMs } = await store.book(ask(5));
      assertEquals(count, 0);
      assert(nextDueMs <= 1_000, `${nextDueMs}`);
      await age(1);
      assertEquals((await store.book(ask(5))).count, 1);
    });
  });

  check("takes its defaults where nothing was set, and keeps what was", async () => {
    await withStore(engine, { rate: 7, capacity: 3 }, async (store, _, other) => {
      assertEquals(await store.settings(), {});
      await store.book(ask(1));
      assertEquals(await store.settings(), {});
      await store.set({ capacity: 9 });
      const { rate, capacity } = await other.book(ask(0));
      assertEquals([rate, capacity, await other.settings()], [7, 9, { capacity: 9 }]);
      for (const rate of [0.1, 0, 1e300]) {
        await store.set({ rate });
        assertEquals((await other.settings()).rate, rate);
        await other.book(ask(1));
      }
    });
  });

  check("keeps a schedule, and ends it", async () => {
    await withStore(engine, { rate: 5, capacity: 5 }, async (store, _, other) => {
      await store.setSchedule("UTC = 1; otherwise 2");
      assertEquals(await other.settings(), { schedule: "UTC = 1; otherwise 2" });
      await other.setSchedule(null);
      assertEquals(await store.settings(), {});
    });
  });

  check("leaves a rate alone that was set since the window began", async () => {
    await withStore(engine, { rate: 5, capacity: 5 }, async (store) => {
      const hour = 3_600_000;
      assertEquals(await store.set({ rate: 1 }, { unlessSetSince: Date.now() - hour }), true);
      assertEquals(await store.set({ rate: 2 }, { unlessSetSince: Date.now() - hour }), false);
      assertEquals((await store.settings()).rate, 1);
      assertEquals(await store.set({ rate: 3 }, { unlessSetSince: Date.now() + hour }), true);
      assertEquals(await store.set({ rate: 4 }, { unlessSetSince: -Infinity }), false);
      assertEquals((await store.settings()).rate, 3);
    });
  });

  check("refuses what is no rate and no capacity", async () => {
    await withStore(engine, { rate: 5, capacity: 5 }, async (store) => {
      for (const rate of [-1, NaN, Infinity]) await assertRejects(() => store.set({ rate }), RangeError, `${rate}`);
      for (const capacity of [0, 1.5, -1, 2 ** 31]) {
        await assertRejects(() => store.set({ capacity }), RangeError, `${capacity}`);
      }
      assertEquals(await store.settings(), {});
    });
  });

  check("lets any number ask at once", async () => {
    await withStore(engine, { rate: 1e-6, capacity: 5 }, async (store, age) => {
      await store.book(ask(1));
      await age(1e9);
      const bookings = await Promise.all(Array.from({ length: 40 }, () => store.book(ask(1))));
      assertEquals(bookings.reduce((sum, { count }) => sum + count, 0), 5);
    });
  });

  check("says what to do where the tables are missing", async () => {
    await using stack = new AsyncDisposableStack();
    const store = new SharedRate(await engine.empty(stack), "pacs", { rate: 5, capacity: 5 });
    const error = await assertRejects(() => store.book(ask(1)), DatabaseError, "pixl migrate");
    assertEquals(error.code, "database-outdated");
  });
});
