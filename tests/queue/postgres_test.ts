import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { delay } from "@std/async";
import { type Database, migrate } from "@pixl/core/database";
import { type Delivery, type KeptMessage, PublishError, QueueError } from "@pixl/core/queue";
import { PostgresBroker, type PostgresBrokerOptions } from "../../src/queue/postgres/postgres_broker.ts";
import { onEachEngine } from "../support/databases.ts";
import {
  brokerConformance,
  depthBecomes,
  eventually,
  ids,
  message,
  messages,
  queueName,
  rejection,
  rejectsWith,
  take,
} from "./broker_conformance.ts";

/** A table of its own for what effects write. */
async function withEffects(sql: Database["sql"], run: (table: string) => Promise<void>): Promise<void> {
  const table = `effect_${crypto.randomUUID().replaceAll("-", "")}`;
  await sql`create table ${sql(table)} (text text)`;
  await run(table);
}

async function effects(sql: Database["sql"], table: string): Promise<string[]> {
  return (await sql<{ text: string }[]>`select text from ${sql(table)}`).map(({ text }) => text);
}

/** A queue of its own on a broker of its own. */
async function withBroker(
  database: Database,
  options: PostgresBrokerOptions,
  run: (broker: PostgresBroker, queue: string) => Promise<void>,
): Promise<void> {
  await using broker = new PostgresBroker(database.sql, options);
  const queue = queueName();
  await broker.declare(queue);
  await run(broker, queue);
}

onEachEngine((engine) => {
  const named = `PostgresBroker (${engine.name})`;
  brokerConformance(
    named,
    async () => ({ broker: new PostgresBroker((await engine.database()).sql) }),
    engine.test,
    { priorities: "strict", keepsPlaces: true, ages: true },
  );

  engine.test(`${named}: a dead consumer's message comes back as the next attempt`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await broker.publish(queue, messages(2));
      // What a killed process leaves behind: leases that nobody renews.
      await sql`
        update pixl_pipeline.message set lease_owner = 'dead/1', lease_until = now() - interval '1 second'
        where queue = ${queue} and name = 'message-0001'`;
      await depthBecomes(broker, queue, { ready: 2, inHand: 0 });
      await using subscription = await broker.subscribe(queue);
      const [first, second] = [await take(subscription), await take(subscription)];
      assertEquals([first.messageId, first.attempt], ["message-0001", 2]);
      assertEquals([second.messageId, second.attempt], ["message-0000", 1]);
      await first.acknowledge();
      await second.acknowledge();
    });
  });

  engine.test(`${named}: a live lease is not taken over, however long the work`, async () => {
    await withBroker(await engine.database(), { leaseMs: 300 }, async (broker, queue) => {
      await broker.publish(queue, messages(1));
      await using subscription = await broker.subscribe(queue);
      const delivery = await take(subscription);
      const start = performance.now();
      await eventually(async () => {
        assertEquals((await broker.depth(queue)).inHand, 1);
        return performance.now() - start > 1_000;
      }, "time stood still");
      assertEquals(delivery.lost.aborted, false);
      await delivery.acknowledge();
    });
  });

  engine.test(`${named}: 'lost' aborts when another took the lease over, and the late answer is refused`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), { leaseMs: 300 }, async (broker, queue) => {
      await broker.publish(queue, messages(1));
      await using subscription = await broker.subscribe(queue);
      const delivery = await take(subscription);
      await sql`update pixl_pipeline.message set lease_owner = 'other/1' where queue = ${queue}`;
      await eventually(() => Promise.resolve(delivery.lost.aborted), "the delivery is not lost");
      assertInstanceOf(delivery.lost.reason, QueueError);
      await rejectsWith("delivery-lost", () => delivery.acknowledge());
      assertEquals((await sql`select from pixl_pipeline.message where queue = ${queue}`).length, 1);
    });
  });

  const answers: Readonly<Record<string, (delivery: Delivery) => Promise<void>>> = {
    acknowledge: (delivery) => delivery.acknowledge(),
    release: (delivery) => delivery.release(),
    requeue: (delivery) => delivery.requeue(0),
    retry: (delivery) => delivery.retry(0),
    deadLetter: (delivery) => delivery.deadLetter("late"),
  };
  for (const [name, answer] of Object.entries(answers)) {
    engine.test(`${named}: ${name}() is refused once the message was taken over, even by the same broker`, async () => {
      const { sql } = await engine.database();
      await withBroker(await engine.database(), {}, async (broker, queue) => {
        await broker.publish(queue, messages(1));
        await using subscription = await broker.subscribe(queue);
        const late = await take(subscription);
        await sql`update pixl_pipeline.message set lease_until = now() - interval '1 second' where queue = ${queue}`;
        const current = await take(subscription);
        await rejectsWith("delivery-lost", () => answer(late));
        assertEquals((await broker.depth(queue)).inHand, 1);
        await current.acknowledge();
      });
    });
  }

  engine.test(`${named}: an effect is in the transaction that acknowledges`, async () => {
    const { sql } = await engine.database();
    await withEffects(sql, async (table) => {
      await withBroker(await engine.database(), {}, async (broker, queue) => {
        await broker.publish(queue, messages(1));
        await using subscription = await broker.subscribe(queue);
        const delivery = await take(subscription);
        const problem = new Error("later");
        await assertRejects(
          () =>
            delivery.acknowledge(async (transaction) => {
              assert(transaction !== undefined);
              await transaction`insert into ${transaction(table)} values ('undone')`;
              const left = await transaction`select from pixl_pipeline.message where queue = ${queue}`;
              assertEquals(left.length, 0);
              throw problem;
            }),
          Error,
          "later",
        );
        assertEquals(await effects(sql, table), []);
        assertEquals((await broker.depth(queue)).inHand, 1);
        await delivery.acknowledge(async (transaction) => {
          assert(transaction !== undefined);
          await transaction`insert into ${transaction(table)} values ('done')`;
        });
        assertEquals(await effects(sql, table), ["done"]);
        await depthBecomes(broker, queue, { ready: 0, inHand: 0, dead: 0 });
      });
    });
  });

  engine.test(`${named}: an effect that the database refuses is undone, and what it refused is said`, async () => {
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await broker.publish(queue, messages(1));
      await using subscription = await broker.subscribe(queue);
      const delivery = await take(subscription);
      const error = await rejection(delivery.acknowledge(async (transaction) => {
        assert(transaction !== undefined);
        await transaction`select 1 / 0`;
      }));
      assertEquals((error as { code?: unknown }).code, "22012");
      await delivery.acknowledge();
      await depthBecomes(broker, queue, { ready: 0, inHand: 0 });
    });
  });

  engine.test(`${named}: a message that was taken over has no effect`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await broker.publish(queue, messages(1));
      await using subscription = await broker.subscribe(queue);
      const delivery = await take(subscription);
      await sql`update pixl_pipeline.message set lease_owner = 'other/1' where queue = ${queue}`;
      let called = false;
      await rejectsWith("delivery-lost", () => delivery.acknowledge(() => Promise.resolve(void (called = true))));
      assertEquals([called, (await broker.depth(queue)).inHand], [false, 1]);
    });
  });

  // The embedded database has one session: while a transaction is open in it, no lease can be renewed.
  if (engine.name === "PostgreSQL") {
    engine.test(`${named}: a message stays ours through an effect longer than its lease`, async () => {
      await withBroker(await engine.database(), { leaseMs: 300 }, async (broker, queue) => {
        await broker.publish(queue, messages(2));
        await using subscription = await broker.subscribe(queue);
        const [slow, other] = [await take(subscription), await take(subscription)];
        const next = take(subscription);
        await rejection(slow.acknowledge(async () => {
          await delay(1_000);
          throw new Error("too late");
        }));
        assertEquals([slow.lost.aborted, other.lost.aborted], [false, false]);
        await slow.acknowledge();
        await other.release();
        assertEquals((await next).messageId, other.messageId);
        await (await next).acknowledge();
        await depthBecomes(broker, queue, { ready: 0, inHand: 0 });
      });
    });
  }

  engine.test(`${named}: who dies in a walk gives back what it was shown, as it was`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await broker.publish(queue, messages(3));
      await using subscription = await broker.subscribe(queue);
      await (await take(subscription)).retry(60_000);
      await (await take(subscription)).deadLetter("refused");
      // What a killed process leaves behind.
      await sql`
        update pixl_pipeline.message set lease_owner = 'dead/1', lease_until = now() - interval '1 second', shown = true
        where queue = ${queue}`;
      await depthBecomes(broker, queue, { ready: 1, delayed: 1, inHand: 0, dead: 1 });
      const delivery = await take(subscription);
      assertEquals([delivery.messageId, delivery.attempt], ["message-0002", 1]);
      await delivery.acknowledge();
      const seen: [string, number][] = [];
      for (const place of ["waiting", "dead"] as const) {
        await broker.walk(queue, place, (batch) => {
          seen.push(...batch.map(({ messageId, attempt }): [string, number] => [messageId, attempt]));
          return Promise.resolve(batch.map(() => "keep"));
        });
      }
      assertEquals(seen, [["message-0000", 2], ["message-0001", 1]]);
    });
  });

  engine.test(`${named}: walk() keeps what it shows for as long as its visitor needs`, async () => {
    await withBroker(await engine.database(), { leaseMs: 300 }, async (broker, queue) => {
      await broker.publish(queue, messages(2));
      await using subscription = await broker.subscribe(queue);
      const shown = await broker.walk(queue, "waiting", async (batch) => {
        await rejection(subscription.next({ signal: AbortSignal.timeout(1_000) }));
        return batch.map(() => "delete");
      });
      assertEquals(shown, 2);
      await depthBecomes(broker, queue, { ready: 0, inHand: 0 });
    });
  });

  engine.test(`${named}: walk() rejects if a message that it showed was taken over, and leaves that one alone`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await broker.publish(queue, messages(3));
      await rejectsWith("delivery-lost", () =>
        broker.walk(queue, "waiting", async (batch) => {
          await sql`
            update pixl_pipeline.message set lease_owner = 'other/1' where queue = ${queue} and name = 'message-0001'`;
          return batch.map(() => "delete");
        }));
      const left = await sql<{ name: string }[]>`select name from pixl_pipeline.message where queue = ${queue}`;
      assertEquals(left.map(({ name }) => name), ["message-0001"]);
    });
  });

  engine.test(`${named}: two walks at once show each message to one of them`, async () => {
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await broker.publish(queue, messages(300));
      const seen: string[] = [];
      const visit = async (batch: readonly KeptMessage[]) => {
        seen.push(...batch.map(({ messageId }) => messageId));
        await delay(1);
        return batch.map(() => "delete" as const);
      };
      await Promise.all([1, 2, 3].map(() => broker.walk(queue, "waiting", visit, { batch: 20 })));
      assertEquals(seen.sort(), ids(300));
      await depthBecomes(broker, queue, { ready: 0 });
    });
  });

  engine.test(`${named}: closing the broker in a walk gives back what is shown`, async () => {
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await broker.publish(queue, messages(2));
      await rejectsWith("delivery-lost", () =>
        broker.walk(queue, "waiting", async (batch) => {
          await broker[Symbol.asyncDispose]();
          return batch.map(() => "delete");
        }));
      await using second = new PostgresBroker((await engine.database()).sql);
      await depthBecomes(second, queue, { ready: 2, inHand: 0 });
    });
  });

  engine.test(`${named}: a subscription whose process died does not count, and is cleared away`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await sql`
        insert into pixl_pipeline.consumer (queue, owner, until) values (${queue}, 'dead/1', now() - interval '1 second')`;
      assertEquals((await broker.depth(queue)).consumers, 0);
      await using _subscription = await broker.subscribe(queue);
      assertEquals((await broker.depth(queue)).consumers, 1);
      assertEquals((await sql`select from pixl_pipeline.consumer where queue = ${queue}`).length, 1);
    });
  });

  engine.test(`${named}: a subscription is renewed, and comes back if others thought it dead`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), { leaseMs: 300 }, async (broker, queue) => {
      await using _subscription = await broker.subscribe(queue);
      await sql`delete from pixl_pipeline.consumer where queue = ${queue}`;
      await depthBecomes(broker, queue, { consumers: 1 });
      const start = performance.now();
      await eventually(async () => {
        assertEquals((await broker.depth(queue)).consumers, 1);
        return performance.now() - start > 800;
      }, "time stood still");
    });
  });

  engine.test(`${named}: the place of a dead 'singleActive' subscription is taken when its lease ran out`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await sql`
        insert into pixl_pipeline.consumer (queue, owner, active, until)
        values (${queue}, 'dead/1', true, now() + interval '1 second')`;
      await broker.publish(queue, messages(1));
      await using subscription = await broker.subscribe(queue, { singleActive: true });
      const start = performance.now();
      const delivery = await take(subscription);
      assertGreater(performance.now() - start, 700);
      await delivery.acknowledge();
    });
  });

  engine.test(`${named}: a 'singleActive' subscription that lost its place takes nothing`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await using subscription = await broker.subscribe(queue, { singleActive: true });
      await broker.publish(queue, messages(2));
      await (await take(subscription)).acknowledge();
      // As if it had slept through its lease and another had begun.
      await sql`
        update pixl_pipeline.consumer set active = false where queue = ${queue}`;
      await sql`
        insert into pixl_pipeline.consumer (queue, owner, active, until)
        values (${queue}, 'other/1', true, now() + interval '1 minute')`;
      await assertRejects(() => subscription.next({ signal: AbortSignal.timeout(600) }));
      assertEquals((await broker.depth(queue)).ready, 1);
    });
  });

  engine.test(`${named}: of twenty 'singleActive' subscriptions that begin at once one is active`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await using stack = new AsyncDisposableStack();
      await broker.publish(queue, messages(40));
      const given: number[] = [];
      const controller = new AbortController();
      const work = async (i: number) => {
        const subscription = stack.use(await broker.subscribe(queue, { singleActive: true }));
        for (;;) {
          const delivery = await subscription.next({ signal: controller.signal });
          given.push(i);
          await delivery.acknowledge();
          if (given.length === 40) controller.abort();
        }
      };
      await Promise.allSettled(Array.from({ length: 20 }, (_, i) => work(i)));
      assertEquals([given.length, new Set(given).size], [40, 1]);
      assertEquals((await sql`select from pixl_pipeline.consumer where queue = ${queue} and active`).length, 1);
    });
  });

  engine.test(`${named}: age() is that of the most urgent, or of one whose consumer died`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await broker.publish(queue, [message("old"), { ...message("urgent"), priority: 5 }, message("abandoned")]);
      const publishedAgo = (name: string, ago: string) =>
        sql`
        update pixl_pipeline.message set published_at = now() - ${ago}::text::interval
        where queue = ${queue} and name = ${name}`;
      await publishedAgo("old", "3 hours");
      await publishedAgo("urgent", "1 hour");
      await publishedAgo("abandoned", "2 hours");
      const hours = async () => (await broker.age(queue) ?? NaN) / 3_600_000;
      assertAlmostEquals(await hours(), 1, 0.01);
      await sql`
        update pixl_pipeline.message set lease_owner = 'dead/1', lease_until = now() - interval '1 second'
        where queue = ${queue} and name = 'abandoned'`;
      assertAlmostEquals(await hours(), 2, 0.01);
    });
  });

  engine.test(`${named}: the planner knows of a large publication, in however many calls`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      const known = async () => {
        const [row] = await sql<{ known: number }[]>`
          select reltuples as known from pg_class where oid = 'pixl_pipeline.message'::regclass`;
        return row?.known ?? NaN;
      };
      await sql`analyze pixl_pipeline.message`;
      const before = await known();
      for (let i = 0; i < 21; i++) await broker.publish(queue, messages(500));
      assertGreaterOrEqual(await known() - before, 10_000);
      await broker.purge(queue);
    });
  });

  engine.test(`${named}: publish() names every message that was not stored and counts the others`, async () => {
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      const bad = { messageId: "bad", body: { length: 1, toBase64: () => "*" } as unknown as Uint8Array };
      const all = [...messages(1_500), bad, message("after")];
      const error = await assertRejects(() => broker.publish(queue, all), PublishError);
      assertEquals(error.confirmed, 1_000);
      assertEquals(error.unconfirmed, [...ids(1_500).slice(1_000), "bad", "after"]);
      await depthBecomes(broker, queue, { ready: 1_000 });
    });
  });

  engine.test(`${named}: without tables every call says what to do`, async () => {
    await using stack = new AsyncDisposableStack();
    const database = await engine.empty(stack);
    await using broker = new PostgresBroker(database.sql);
    const error = await assertRejects(() => broker.declare("q"), QueueError, "pixl migrate");
    assertEquals(error.code, "queue-missing");
    await rejectsWith("queue-missing", () => broker.subscribe("q"));
    await rejectsWith("queue-missing", () => broker.depth("q"));
  });

  engine.test(`${named}: next() rejects when the database was closed`, async () => {
    await using stack = new AsyncDisposableStack();
    const database = await engine.empty(stack);
    await migrate(database);
    await using broker = new PostgresBroker(database.sql);
    await broker.declare("q");
    await using subscription = await broker.subscribe("q");
    const waiting = rejectsWith("closed", () => subscription.next());
    await database[Symbol.asyncDispose]();
    await waiting;
  });
});

Deno.test("PostgresBroker: what is wrong with a time is said", () => {
  const sql = {} as Database["sql"];
  for (const leaseMs of [0, -1, NaN, Infinity]) {
    assertThrows(() => new PostgresBroker(sql, { leaseMs }), RangeError, "'leaseMs' must be positive");
  }
});
