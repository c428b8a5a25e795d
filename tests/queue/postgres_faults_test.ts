import { assertEquals, assertGreater, assertGreaterOrEqual, assertLess, assertRejects } from "@std/assert";
import { migrate, openDatabase } from "@pixl/core/database";
import { PublishError } from "@pixl/core/queue";
import { PostgresBroker } from "../../src/queue/postgres/postgres_broker.ts";
import { freshDatabase, startPostgres } from "../support/postgres.ts";
import { depthBecomes, eventually, ids, message, messages, rejectsWith, take } from "./broker_conformance.ts";
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
