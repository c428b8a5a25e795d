/** What PostgresBroker does when the database, its user or the network does not do its part. */
import { assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { configure, type LogRecord, reset } from "@logtape/logtape";
import { delay } from "@std/async";
import { type Database, migrate } from "@pixl/core/database";
import { QueueError } from "@pixl/core/queue";
import { queueError } from "../../src/queue/postgres/errors.ts";
import { PostgresBroker, type PostgresBrokerOptions } from "../../src/queue/postgres/postgres_broker.ts";
import { PostgresSubscription } from "../../src/queue/postgres/subscription.ts";
import { onEachEngine } from "../support/databases.ts";
import { eventually, queueName, rejection, rejectsWith } from "./broker_conformance.ts";

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

/** As postgres.js gives on what a server answers. */
function answer(code: string): Error {
  return Object.assign(new Error("MRNSEED"), { name: "PostgresError", code });
}

onEachEngine((engine) => {
  const named = `PostgresBroker (${engine.name})`;

  for (const prefetch of [0, 5]) {
    engine.test(`${named}: next() rejects when the database was closed, prefetch ${prefetch}`, async () => {
      await using stack = new AsyncDisposableStack();
      const database = await engine.empty(stack);
      await migrate(database);
      await using broker = new PostgresBroker(database.sql);
      await broker.declare("q");
      await using subscription = await broker.subscribe("q", { prefetch });
      const waiting = rejectsWith("closed", () => subscription.next());
      await database[Symbol.asyncDispose]();
      await waiting;
      await rejectsWith("closed", () => subscription.next());
    });
  }

  engine.test(`${named}: brokers that say the same 'owner' are told apart`, async () => {
    const database = await engine.database();
    await withBroker(database, { owner: "host" }, async (broker, queue) => {
      await using other = new PostgresBroker(database.sql, { owner: "host" });
      await using _first = await broker.subscribe(queue);
      await using _second = await other.subscribe(queue);
      assertEquals((await broker.depth(queue)).consumers, 2);
    });
  });

  // The embedded database has one session: nobody else can hold a lock in it.
  if (engine.name === "PostgreSQL") {
    engine.test(`${named}: an aborted subscribe() leaves no subscription behind`, async () => {
      const { sql } = await engine.database();
      await withBroker(await engine.database(), { leaseMs: 300 }, async (broker, queue) => {
        const reason = new Error("enough");
        await sql.begin(async (other) => {
          await other`lock table pixl_pipeline.consumer in access exclusive mode`;
          const controller = new AbortController();
          const subscribing = broker.subscribe(queue, { signal: controller.signal });
          await eventually(async () => {
            const rows = await other`
              select from pg_locks where relation = 'pixl_pipeline.consumer'::regclass and not granted`;
            return rows.length > 0;
          }, "it does not subscribe");
          controller.abort(reason);
          assertStrictEquals(await rejection(subscribing), reason);
        });
        // It would be renewed every 100 ms.
        await delay(500);
        assertEquals((await broker.depth(queue)).consumers, 0);
      });
    });
  }
});

Deno.test("PostgresSubscription looks no more when it has failed for good", async () => {
  let looks = 0;
  await using subscription = new PostgresSubscription({
    queue: "pacs",
    pollMs: 10,
    prefetch: 5,
    claim: () => {
      looks++;
      return Promise.reject(answer("42P01"));
    },
    onClose: () => Promise.resolve(),
  });
  await rejectsWith("queue-missing", () => subscription.next());
  await delay(50);
  await rejectsWith("queue-missing", () => subscription.next());
  assertEquals(looks, 1);
});

Deno.test("PostgresSubscription waits through an outage and says so once", async () => {
  const records: LogRecord[] = [];
  await configure({
    sinks: { kept: (record) => void records.push(record) },
    loggers: [{ category: "pixl", sinks: ["kept"] }, { category: ["logtape", "meta"], sinks: [] }],
  });
  try {
    let looks = 0;
    await using subscription = new PostgresSubscription({
      queue: "pacs",
      pollMs: 5,
      prefetch: 0,
      claim: () => {
        looks++;
        return looks <= 10 ? Promise.reject(answer("57P03")) : Promise.reject(answer("XX000"));
      },
      onClose: () => Promise.resolve(),
    });
    await rejectsWith("broker-refused", () => subscription.next());
    assertEquals(looks, 11);
  } finally {
    await reset();
  }
  assertEquals(records.map(({ level, properties }) => [level, properties.reason]), [
    ["warning", "Cannot take a message from the queue 'pacs': the database does not answer, try again"],
  ]);
});

const causes: Readonly<Record<string, readonly unknown[]>> = {
  "broker-unreachable": [
    ...["08006", "40001", "53100", "53300", "57014", "57P01", "57P03"].map(answer),
    ...["ECONNREFUSED", "EPIPE", "EAI_AGAIN", "CONNECT_TIMEOUT", "CONNECTION_CLOSED"].map((code) =>
      Object.assign(new Error("MRNSEED"), { code })
    ),
    new DOMException("late", "TimeoutError"),
  ],
  "broker-refused": [
    ...["42501", "28P01", "22003", "23505", "42601", "55000", "58030", "XX000"].map(answer),
    new TypeError("MRNSEED"),
    Object.assign(new Error("MRNSEED"), { code: "ERR_TLS_REFUSED" }),
    "MRNSEED",
  ],
  "queue-missing": [answer("42P01")],
};
for (const [code, all] of Object.entries(causes)) {
  Deno.test(`queueError() is '${code}' for what that is, and does not show it`, () => {
    for (const cause of all) {
      const error = queueError("take", cause);
      assertInstanceOf(error, QueueError);
      assertEquals([error.code, error.message.includes("MRNSEED")], [code, false], String(cause));
    }
  });
}
