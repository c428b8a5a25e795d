import { assert, assertEquals, assertGreaterOrEqual, assertRejects } from "@std/assert";
import { delay } from "@std/async";
import { migrate, openDatabase } from "@pixl/core/database";
import { PostgresBroker, PublishError } from "@pixl/core/queue";
import { freshDatabase, type PostgresServer, startPostgres } from "../../support/postgres.ts";
import { isInstalled, testWith } from "../../support/programs.ts";
import { until } from "../../support/until.ts";
import { ids, messages } from "../broker_conformance.ts";
import { brokerSurvives, type Fault, IN_HAND } from "./scenario.ts";

let own: PostgresServer | undefined;

Deno.test.beforeAll(async () => {
  if (isInstalled("postgresql")) own = await startPostgres();
});
Deno.test.afterAll(async () => {
  await own?.[Symbol.asyncDispose]();
});

/** After a cut its messages come back so soon. */
const LEASE_MS = 1_500;

/** Those in hand, and as many that were taken ahead: they are worked on while their leases last, and cannot be acknowledged then. */
const AT_RISK = 2 * IN_HAND;

/** What may be done to it. */
interface Target {
  readonly server: PostgresServer;
  /** Ends every connection to the database but one's own. @returns How many there were. */
  readonly terminate: () => Promise<number>;
}

const FAULTS: Readonly<Record<string, Fault<Target>>> = {
  "PostgreSQL is restarted": {
    repeats: AT_RISK,
    strike: async ({ server }) => {
      await server.stop();
      await delay(500);
      await server.restart();
    },
  },
  "PostgreSQL is killed and started again": {
    repeats: AT_RISK,
    strike: async ({ server }) => {
      await server.kill();
      await server.restart();
    },
  },
  "an operator ends all connections, four times": {
    repeats: 4 * AT_RISK,
    strike: async ({ terminate }) => {
      for (let i = 0; i < 4; i++) {
        await until("somebody is connected", async () => await terminate() >= 1);
        await delay(200);
      }
    },
  },
  "PostgreSQL hangs for 3 s, longer than a lease": {
    repeats: AT_RISK,
    strike: async ({ server }) => {
      server.freeze();
      await delay(3_000);
      server.thaw();
    },
  },
};

for (const [name, fault] of Object.entries(FAULTS)) {
  testWith("postgresql", `PostgresBroker loses none of 2,000 messages when ${name}`, async () => {
    assert(own !== undefined);
    await using fresh = await freshDatabase(own);
    await using database = await openDatabase(fresh);
    await using admin = await openDatabase({ ...fresh, poolSize: 1, applicationName: "operator" });
    await migrate(database);
    await using broker = new PostgresBroker(database.sql, { leaseMs: LEASE_MS, listen: true });
    const terminate = async () => {
      const ended = await admin.sql`
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name <> 'operator'`;
      return ended.length;
    };
    await brokerSurvives(broker, fault, { server: own, terminate });
  }, { own: true });
}

testWith("postgresql", "PostgresBroker.publish() with 'retry' goes on when the server is back", async () => {
  assert(own !== undefined);
  await using fresh = await freshDatabase(own);
  await using database = await openDatabase(fresh);
  await migrate(database);
  await using broker = new PostgresBroker(database.sql);
  await broker.declare("q");
  await own.stop();
  let failed = 0;
  async function* source() {
    yield* messages(2_000);
    failed += 1;
    await Promise.resolve();
  }
  const publishing = broker.publish("q", source(), { retry: true });
  await delay(1_000);
  assertEquals(failed, 0);
  await own.restart();
  assertEquals(await publishing, 2_000);
  const rows = await database.sql<{ name: string }[]>`select name from pixl_pipeline.message order by message_id`;
  assertEquals(rows.map(({ name }) => name), ids(2_000));
}, { own: true });

testWith(
  "postgresql",
  "PostgresBroker.publish() with 'retry' gives up after 'timeoutMs', naming what is not there",
  async () => {
    assert(own !== undefined);
    await using fresh = await freshDatabase(own);
    await using database = await openDatabase(fresh);
    await migrate(database);
    await using broker = new PostgresBroker(database.sql);
    await broker.declare("q");
    await own.stop();
    try {
      const start = performance.now();
      const options = { retry: true, timeoutMs: 1_000 };
      const error = await assertRejects(() => broker.publish("q", messages(1_500), options), PublishError);
      assertEquals([error.confirmed, error.unconfirmed.length], [0, 1_500]);
      assertGreaterOrEqual(performance.now() - start, 500);
      assert(performance.now() - start < 5_000);

      const controller = new AbortController();
      const reason = new Error("stop");
      const publishing = broker.publish("q", messages(1), { retry: true, signal: controller.signal });
      const ended = publishing.catch((error) => error);
      await delay(300);
      controller.abort(reason);
      assertEquals(await ended, reason);
    } finally {
      await own.restart();
    }
    await until("the database is back", async () => (await broker.depth("q").catch(() => undefined))?.ready === 0);
  },
  { own: true },
);
