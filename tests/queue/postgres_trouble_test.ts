/** What PostgresBroker does when the database, its user or the network does not do its part. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertNotMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { configure, type LogRecord, reset } from "@logtape/logtape";
import { delay } from "@std/async";
import { type Database, migrate } from "@pixl/core/database";
import { PublishError, QueueError, type Transaction } from "@pixl/core/queue";
import { queueError } from "../../src/queue/postgres/errors.ts";
import { Leases } from "../../src/queue/postgres/leases.ts";
import { MessageTable } from "../../src/queue/postgres/message_table.ts";
import { publishBatches } from "../../src/queue/postgres/publish.ts";
import { transact } from "../../src/queue/postgres/transaction.ts";
import { walk } from "../../src/queue/postgres/walk.ts";
import { PostgresBroker, type PostgresBrokerOptions } from "../../src/queue/postgres/postgres_broker.ts";
import { PostgresSubscription } from "../../src/queue/postgres/subscription.ts";
import { onEachEngine } from "../support/databases.ts";
import {
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

  engine.test(`${named}: an answer that the server refuses leaves the message in hand`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      const name = `refused-${queue}`;
      await broker.publish(queue, [message(name)]);
      await using subscription = await broker.subscribe(queue);
      const delivery = await take(subscription);
      const answers = [
        () => delivery.acknowledge(),
        () => delivery.acknowledge(() => Promise.resolve()),
        () => delivery.requeue(0),
        () => delivery.retry(0),
        () => delivery.deadLetter("late"),
      ];
      await sql.unsafe(`
        create function refuse_answer() returns trigger language plpgsql as
          $$ begin raise exception 'full' using errcode = '53100'; end $$;
        create trigger refuse_answer before delete or update of lease_owner on pixl_pipeline.message
          for each row when (old.name = '${name}') execute function refuse_answer()`);
      try {
        for (const answer of answers) await rejectsWith("broker-unreachable", answer);
      } finally {
        await sql.unsafe(`drop function refuse_answer cascade`);
      }
      assertEquals(delivery.lost.aborted, false);
      await delivery.acknowledge();
      await depthBecomes(broker, queue, { ready: 0, inHand: 0 });
    });
  });

  engine.test(`${named}: release() lets go of the message also where the server refuses it: it comes back`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), { leaseMs: 600 }, async (broker, queue) => {
      const name = `refused-${queue}`;
      await broker.publish(queue, [message(name)]);
      await using subscription = await broker.subscribe(queue);
      const delivery = await take(subscription);
      await sql.unsafe(`
        create function refuse_release() returns trigger language plpgsql as
          $$ begin raise exception 'shut down' using errcode = '57P01'; end $$;
        create trigger refuse_release before update of lease_owner on pixl_pipeline.message
          for each row when (old.name = '${name}') execute function refuse_release()`);
      try {
        await rejectsWith("delivery-lost", () => delivery.release());
      } finally {
        await sql.unsafe(`drop function refuse_release cascade`);
      }
      const again = await take(subscription);
      assertEquals([again.messageId, again.attempt], [delivery.messageId, 2]);
      await again.acknowledge();
    });
  });

  engine.test(`${named}: requeue() and retry() put off a week at most`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await broker.publish(queue, messages(2));
      await using subscription = await broker.subscribe(queue);
      await (await take(subscription)).requeue(1e18);
      await (await take(subscription)).retry(1e15);
      const days = await sql<{ days: number }[]>`
        select round(extract(epoch from available_at - now()) / 86400)::integer as days
        from pixl_pipeline.message where queue = ${queue}`;
      assertEquals(days.map(({ days }) => days), [7, 7]);
    });
  });

  engine.test(`${named}: a transaction whose work does not end is rolled back, and lets others in`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await broker.publish(queue, messages(1));
      let kept: Transaction | undefined;
      const work = async (transaction: Transaction) => {
        kept = transaction;
        await transaction`delete from pixl_pipeline.message where queue = ${queue}`;
        // In the embedded database this waits for the transaction, on a server it would not.
        await (engine.name === "embedded" ? sql`select 1` : new Promise(() => {}));
      };
      const error = await assertRejects(() => transact(sql, work, 300), QueueError, "wait for nothing else");
      assertEquals(error.code, "broker-unreachable");
      assertEquals((await broker.depth(queue)).ready, 1);
      await assertRejects(
        async () => {
          assert(kept !== undefined);
          await kept`select 1`;
        },
        QueueError,
        "within 300 ms",
      );
    });
  });

  engine.test(`${named}: walk() shows so many bytes at once and no more`, async () => {
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      const body = new Uint8Array(1 << 20).fill(0x20);
      await broker.publish(queue, ids(10).map((messageId) => ({ messageId, body })));
      for (const place of ["waiting", "dead"] as const) {
        const shown: string[][] = [];
        await broker.walk(queue, place, (batch) => {
          shown.push(batch.map(({ messageId }) => messageId));
          return Promise.resolve(batch.map(() => "keep"));
        });
        assertEquals(shown, [ids(10).slice(0, 4), ids(10).slice(4, 8), ids(10).slice(8)], place);
        if (place === "dead") break;
        await using subscription = await broker.subscribe(queue);
        for (let i = 0; i < 10; i++) await (await take(subscription)).deadLetter("refused");
      }
      await broker.walk(queue, "dead", (batch) => Promise.resolve(batch.map(() => "delete")));
    });
  });

  engine.test(`${named}: taking a message looks it up, with 20,000 delayed, dead or in hand beside it`, async () => {
    const { sql } = await engine.database();
    await withBroker(await engine.database(), {}, async (broker, queue) => {
      await broker.publish(queue, messages(10));
      await sql`
        insert into pixl_pipeline.message (queue, name, body, available_at, dead_at, lease_owner, lease_until)
        select ${queue}, n::text, '', now() + case n % 3 when 0 then interval '1 hour' else '0' end,
          case n % 3 when 1 then now() end, case n % 3 when 2 then 'x/1' end, case n % 3 when 2 then now() + interval '1 hour' end
        from generate_series(1, 20000) n`;
      await sql`analyze pixl_pipeline.message`;
      const explaining = new Proxy(sql, {
        apply(target, self, [strings, ...values]: [TemplateStringsArray, ...unknown[]]) {
          const asked = strings[0]?.trimStart().startsWith("with abandoned")
            ? Object.assign(["explain ".concat(strings[0]), ...strings.slice(1)], { raw: strings.raw })
            : strings;
          return Reflect.apply(target, self, [asked, ...values]) as unknown;
        },
      });
      const rows: unknown = await new MessageTable(explaining).claim(queue, "none", 1_000, 1);
      const plan = (rows as { "QUERY PLAN": string }[]).map((row) => row["QUERY PLAN"]).join("\n");
      assertStringIncludes(plan, "message_waiting");
      assertStringIncludes(plan, "message_in_hand");
      assertNotMatch(plan, /Seq Scan on message/);
      await sql`delete from pixl_pipeline.message where queue = ${queue}`;
    });
  });

  // The embedded database has one session: nobody else can hold a lock in it.
  if (engine.name === "PostgreSQL") {
    engine.test(`${named}: publish() does not wait for whoever listens to be told`, async () => {
      const { sql } = await engine.database();
      const mute = new Proxy(sql, {
        apply: (target, self, [strings, ...values]: [TemplateStringsArray, ...unknown[]]): unknown =>
          strings[0]?.includes("pg_notify")
            ? new Promise(() => {})
            : Reflect.apply(target, self, [strings, ...values]) as unknown,
      });
      await using broker = new PostgresBroker(mute, { listen: true });
      const queue = queueName();
      await broker.declare(queue);
      assertEquals(await broker.publish(queue, messages(3), { timeoutMs: 2_000 }), 3);
    });

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
Deno.test("walk() ends with its signal when the server does not say its time", async () => {
  const sql = (() => new Promise(() => {})) as unknown as Database["sql"];
  const table = new MessageTable(sql);
  const reason = new Error("enough");
  const controller = new AbortController();
  const context = {
    sql,
    table,
    leases: new Leases(table, 1_000),
    leaseMs: 1_000,
    queue: "pacs",
    place: "waiting",
    nextLease: () => "none",
  } as const;
  const walking = walk(context, () => Promise.resolve([]), { signal: controller.signal });
  controller.abort(reason);
  assertStrictEquals(await rejection(walking), reason);
});

Deno.test("publish() with 'retry' whose time ran out meanwhile lists the messages", async () => {
  const insert = () => {
    const end = performance.now() + 300;
    while (performance.now() < end);
    return Promise.reject(answer("57P03"));
  };
  const publishing = publishBatches("pacs", messages(2), { retry: true, timeoutMs: 200 }, insert);
  const error = await assertRejects(() => publishing, PublishError);
  assertEquals(error.unconfirmed, ids(2));
});

for (const [code, all] of Object.entries(causes)) {
  Deno.test(`queueError() is '${code}' for what that is, and does not show it`, () => {
    for (const cause of all) {
      const error = queueError("take", cause);
      assertInstanceOf(error, QueueError);
      assertEquals([error.code, error.message.includes("MRNSEED")], [code, false], String(cause));
    }
  });
}
