import {
  assert,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLess,
  assertRejects,
} from "@std/assert";
import { migrate, openDatabase } from "@pixl/core/database";
import { PublishError, QueueError } from "@pixl/core/queue";
import { PostgresBroker } from "../../src/queue/postgres/postgres_broker.ts";
import { freshDatabase, sharedPostgres, startPostgres } from "../support/postgres.ts";
import {
  depthBecomes,
  eventually,
  ids,
  message,
  messages,
  rejection,
  rejectsWith,
  take,
} from "./broker_conformance.ts";
import { testWith } from "../support/programs.ts";

const ownPostgresTest = (name: string, run: () => void | Promise<void>) =>
  testWith("postgresql", name, run, { own: true });

testWith(
  "postgresql",
  "PostgresBroker: a server's crash loses no accepted message, and next() waits through it",
  async () => {
    await using server = await startPostgres();
    await using fresh = await freshDatabase(server);
    {
      await using database = await openDatabase(fresh);
      await migrate(database);
      await using broker = new PostgresBroker(database.sql, { leaseMs: 1_000 });
      await broker.declare("q");
      await broker.publish("q", messages(50));
      await using subscription = await broker.subscribe("q");
      const held = await take(subscription);
      const done = new Set<string>();

      await server.kill();
      await eventually(() => Promise.resolve(held.lost.aborted), "the delivery is not lost though the server is gone");
      await assertRejects(() => broker.publish("q", [message("refused")]), PublishError);
      const waiting = take(subscription);
      await server.restart();

      const first = await waiting;
      done.add(first.messageId);
      await first.acknowledge();
      while (done.size < 50) {
        const delivery = await take(subscription);
        done.add(delivery.messageId);
        await delivery.acknowledge();
      }
      assertEquals([...done].sort(), ids(50));
      await depthBecomes(broker, "q", { ready: 0, inHand: 0 });
      await rejectsWith("delivery-lost", () => held.acknowledge());
    }
  },
);

ownPostgresTest("PostgresBroker: a server that hangs makes 'lost' abort before the lease runs out", async () => {
  await using server = await startPostgres();
  await using fresh = await freshDatabase(server);
  await using database = await openDatabase(fresh);
  await migrate(database);
  await using broker = new PostgresBroker(database.sql, { leaseMs: 1_500 });
  await broker.declare("q");
  await broker.publish("q", messages(1));
  await using subscription = await broker.subscribe("q");
  const start = performance.now();
  const delivery = await take(subscription);
  server.freeze();
  try {
    await eventually(() => Promise.resolve(delivery.lost.aborted), "the delivery is not lost though the server hangs");
    // Renewed once at most before the freeze.
    assertLess(performance.now() - start, 2_500);
    assertGreater(performance.now() - start, 400);
  } finally {
    server.thaw();
  }
  const again = await take(subscription);
  assertGreaterOrEqual(again.attempt, 2);
  assertEquals(again.messageId, delivery.messageId);
  await again.acknowledge();
});

testWith(
  "postgresql",
  "PostgresBroker: an effect whose connection is cut is undone, and what comes of it later is refused",
  async () => {
    await using server = await sharedPostgres();
    await using fresh = await freshDatabase(server);
    await using database = await openDatabase(fresh);
    await migrate(database);
    const { sql } = database;
    await sql`create table effect (n int)`;
    await using broker = new PostgresBroker(sql);
    await broker.declare("q");
    await broker.publish("q", messages(1));
    await using subscription = await broker.subscribe("q");
    const delivery = await take(subscription);
    const cut = Promise.withResolvers<void>();
    const later = Promise.withResolvers<unknown>();
    const error = await rejection(delivery.acknowledge(async (transaction) => {
      assert(transaction !== undefined);
      await transaction`insert into effect values (1)`;
      const [row] = await transaction<{ pid: number }[]>`select pg_backend_pid() as pid`;
      await sql`select pg_terminate_backend(${row?.pid ?? 0})`;
      await cut.promise;
      // Without a guard postgres.js would end the process here, or store it outside of the transaction.
      const late = await rejection((async () => await transaction`insert into effect values (2)`)());
      later.resolve(late);
      throw late;
    }));
    assertInstanceOf(error, QueueError);
    assertEquals([error.code, delivery.lost.aborted], ["broker-unreachable", false]);
    cut.resolve();
    assertInstanceOf(await later.promise, QueueError);
    await delivery.acknowledge();
    assertEquals((await sql`select from effect`).length, 0);
    await depthBecomes(broker, "q", { ready: 0, inHand: 0 });
  },
);
