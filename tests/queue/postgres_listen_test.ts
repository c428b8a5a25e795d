import { assert, assertEquals, assertLess } from "@std/assert";
import { delay } from "@std/async";
import { type Database, migrate, openDatabase, type PostgresOptions } from "@pixl/core/database";
import type { Delivery } from "@pixl/core/queue";
import { PostgresBroker } from "../../src/queue/postgres/postgres_broker.ts";
import { freshDatabase, sharedPostgres } from "../support/postgres.ts";
import { testWith } from "../support/programs.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { until } from "../support/until.ts";
import { message, messages, take } from "./broker_conformance.ts";

/** After a wait of {@linkcode BORED_MS} who listens to nobody looks next about a second later. */
const BORED_MS = 1_500;
const AT_ONCE_MS = 500;

const OPTIONS = { listen: true, pollMs: 10_000 };

function listenTest(
  name: string,
  run: (database: Database, options: PostgresOptions) => Promise<void>,
  more: Partial<PostgresOptions> = {},
): void {
  testWith("postgresql", `PostgresBroker (listening): ${name}`, async () => {
    await using server = await sharedPostgres();
    await using fresh = await freshDatabase(server);
    await using database = await openDatabase({ ...fresh, ...more });
    await migrate(database);
    await run(database, fresh);
  });
}

/** The server's processes that listen for this database's brokers. */
async function listeners({ sql }: Database): Promise<number[]> {
  const rows = await sql<{ pid: number }[]>`
    select pid from pg_stat_activity where datname = current_database() and query ilike 'listen %' and state = 'idle'`;
  return rows.map(({ pid }) => pid);
}

/** What a second broker, which hears of this one only through the server, waits for, and how soon it has it. */
async function afterBoredom(
  waiting: () => Promise<Delivery>,
  act: () => PromiseLike<unknown>,
): Promise<{ readonly delivery: Delivery; readonly ms: number }> {
  const next = waiting();
  await delay(BORED_MS);
  const start = performance.now();
  await act();
  const delivery = await next;
  return { delivery, ms: performance.now() - start };
}

const waysBack: Readonly<
  Record<string, (delivery: Delivery, broker: PostgresBroker, queue: string) => Promise<unknown>>
> = {
  "release()": (delivery) => delivery.release(),
  "requeue(0)": (delivery) => delivery.requeue(0),
  "retry(0)": (delivery) => delivery.retry(0),
  "closing the broker": (_, broker) => broker[Symbol.asyncDispose](),
  "asking for a dead letter again": async (delivery, broker, queue) => {
    await delivery.deadLetter("refused");
    await broker.walk(queue, "dead", (batch) => Promise.resolve(batch.map(() => "requeue")));
  },
};
for (const [name, giveBack] of Object.entries(waysBack)) {
  listenTest(`${name} tells other processes`, async (database, options) => {
    await using elsewhere = await openDatabase(options);
    await using other = new PostgresBroker(elsewhere.sql, OPTIONS);
    await using broker = new PostgresBroker(database.sql, OPTIONS);
    await broker.declare("q");
    await broker.publish("q", [message("only")]);
    await using mine = await broker.subscribe("q");
    const held = await take(mine);
    await using theirs = await other.subscribe("q");
    const { delivery, ms } = await afterBoredom(() => take(theirs), () => giveBack(held, broker, "q"));
    assertLess(ms, AT_ONCE_MS);
    await delivery.acknowledge();
  });
}

listenTest("closing the one active subscription tells the next", async (database, options) => {
  await using elsewhere = await openDatabase(options);
  await using other = new PostgresBroker(elsewhere.sql, OPTIONS);
  await using broker = new PostgresBroker(database.sql, OPTIONS);
  await broker.declare("q");
  const active = await broker.subscribe("q", { singleActive: true });
  await broker.publish("q", messages(2));
  await (await take(active)).acknowledge();
  await using standby = await other.subscribe("q", { singleActive: true });
  const { delivery, ms } = await afterBoredom(() => take(standby), () => active[Symbol.asyncDispose]());
  assertLess(ms, AT_ONCE_MS);
  await delivery.acknowledge();
});

listenTest("one notice for each statement that publishes", async (database) => {
  const broker = new PostgresBroker(database.sql, OPTIONS);
  await broker.declare("q");
  const heard: string[] = [];
  const { unlisten } = await database.sql.listen("pixl_queue", (queue) => heard.push(queue));
  await broker.publish("q", messages(2_500));
  // It waits for what it tells, and nobody else does: the notice below could overtake it.
  await broker[Symbol.asyncDispose]();
  await database.sql.notify("pixl_queue", "end");
  await until("all notices are here", () => heard.includes("end"));
  assertEquals(heard, ["q", "q", "q", "end"]);
  await unlisten();
});

listenTest("a broker that is not told to listen opens no connection for it", async (database) => {
  await using broker = new PostgresBroker(database.sql);
  await broker.declare("q");
  await using _subscription = await broker.subscribe("q");
  await broker.depth("q");
  assertEquals(await listeners(database), []);
});

listenTest("listens again when its connection was cut", async (database, options) => {
  await using elsewhere = await openDatabase(options);
  await using other = new PostgresBroker(elsewhere.sql, OPTIONS);
  await using broker = new PostgresBroker(database.sql, OPTIONS);
  await broker.declare("q");
  await using subscription = await broker.subscribe("q");
  for (let round = 0; round < 2; round++) {
    await until("it listens", async () => (await listeners(elsewhere)).length === 1);
    const [pid] = await listeners(elsewhere);
    assert(pid !== undefined);
    const { delivery, ms } = await afterBoredom(() => take(subscription), () => other.publish("q", messages(1)));
    assertLess(ms, AT_ONCE_MS);
    await delivery.acknowledge();
    await elsewhere.sql`select pg_terminate_backend(${pid})`;
    await until("it is cut", async () => !(await listeners(elsewhere)).includes(pid));
  }
  await until("it listens again", async () => (await listeners(elsewhere)).length === 1);
});

listenTest("looks at once when it listens again, for what it may have missed", async (database, options) => {
  await using elsewhere = await openDatabase(options);
  // Tells nobody.
  await using other = new PostgresBroker(elsewhere.sql);
  await using broker = new PostgresBroker(database.sql, OPTIONS);
  await broker.declare("q");
  await using subscription = await broker.subscribe("q");
  const { delivery, ms } = await afterBoredom(() => take(subscription), async () => {
    await other.publish("q", messages(1));
    const [pid] = await listeners(elsewhere);
    assert(pid !== undefined);
    await elsewhere.sql`select pg_terminate_backend(${pid})`;
  });
  assertLess(ms, AT_ONCE_MS + 200);
  await delivery.acknowledge();
  await until("it listens", async () => (await listeners(elsewhere)).length === 1);
});

listenTest(
  "keeps its connection though nothing else is heard on it",
  async (database) => {
    await using broker = new PostgresBroker(database.sql, { ...OPTIONS, leaseMs: 3_000 });
    await broker.declare("q");
    await using _subscription = await broker.subscribe("q");
    await until("it listens", async () => (await listeners(database)).length === 1);
    const [pid] = await listeners(database);
    // A connection counts as broken after 5.1 s of silence.
    await delay(6_500);
    assertEquals(await listeners(database), [pid]);
  },
  { statementTimeoutMs: 100 },
);

listenTest("looks from time to time where it cannot listen", async (database, options) => {
  await using proxy = new TcpProxy(options.port);
  await using behind = await openDatabase({ ...options, port: proxy.port, poolSize: 1 });
  // The one connection of its pool is there.
  proxy.refusing = true;
  await using broker = new PostgresBroker(behind.sql, { listen: true, pollMs: 300 });
  await using other = new PostgresBroker(database.sql, { listen: true });
  await other.declare("q");
  await using subscription = await broker.subscribe("q");
  const { delivery, ms } = await afterBoredom(() => take(subscription), () => other.publish("q", messages(1)));
  assertLess(ms, 1_500);
  await delivery.acknowledge();
  assertEquals(await listeners(database), []);
  // It tries on, but not in a circle.
  assert(proxy.refused >= 2 && proxy.refused < 20, `${proxy.refused} attempts`);

  proxy.refusing = false;
  await until("it listens after all", async () => (await listeners(database)).length === 1);
});
