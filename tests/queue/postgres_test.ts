import { assertEquals, assertInstanceOf, assertLess, assertRejects, assertThrows } from "@std/assert";
import { type Database, migrate } from "@pixl/core/database";
import { type Delivery, PublishError, QueueError } from "@pixl/core/queue";
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
  rejectsWith,
  take,
} from "./broker_conformance.ts";

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
    { priorities: "strict" },
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

  engine.test(`${named}: taking a message costs the same with 20,000 delayed, dead or in hand before it`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      const perMessage = async () => {
        await broker.publish(queue, messages(200));
        await using subscription = await broker.subscribe(queue);
        const start = performance.now();
        for (let i = 0; i < 200; i++) await (await take(subscription)).acknowledge();
        return (performance.now() - start) / 200;
      };
      const alone = await perMessage();
      await sql`
        insert into pixl_pipeline.message (queue, name, body, available_at, dead_at, lease_owner, lease_until)
        select ${queue}, n::text, '', now() + case n % 3 when 0 then interval '1 hour' else '0' end,
          case n % 3 when 1 then now() end, case n % 3 when 2 then 'x/1' end, case n % 3 when 2 then now() + interval '1 hour' end
        from generate_series(1, 20000) n`;
      const among = await perMessage();
      assertLess(among, 10 * alone + 5);
    });
  });
});

Deno.test("PostgresBroker: what is wrong with a time is said", () => {
  const sql = {} as Database["sql"];
  for (const leaseMs of [0, -1, NaN, Infinity]) {
    assertThrows(() => new PostgresBroker(sql, { leaseMs }), RangeError, "'leaseMs' must be positive");
  }
});
