import { assert, assertEquals, assertGreater } from "@std/assert";
import { type EmbeddedOptions, migrate, openDatabase, type PostgresOptions } from "@pixl/core/database";
import { PostgresBroker, type PostgresBrokerOptions } from "@pixl/core/queue";
import { embeddedTest } from "../support/databases.ts";
import { newEmbedded } from "../support/embedded.ts";
import { ROOT } from "../support/paths.ts";
import { freshDatabase, sharedPostgres } from "../support/postgres.ts";
import { testWith } from "../support/programs.ts";
import { until } from "../support/until.ts";
import { depthBecomes, ids, messages, queueName } from "./broker_conformance.ts";

/** How the processes of a test reach their database. */
type Options = PostgresOptions | EmbeddedOptions;

const LEASE_MS = 2_000;

/** Starts postgres_child.ts. */
function startChild(options: Options, broker: PostgresBrokerOptions, queue: string, task: string) {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--no-prompt", "-A", "--config", `${ROOT}deno.json`, `${ROOT}tests/queue/postgres_child.ts`],
      ...[JSON.stringify(options), JSON.stringify(broker), queue, task],
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines: string[] = [];
  const read = (async () => {
    let rest = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
    }
  })();
  const input = child.stdin.getWriter();
  const kill = async () => {
    child.kill("SIGKILL");
    await Promise.all([child.status, read, input.close().catch(() => {})]);
  };
  let killed: Promise<void> | undefined;
  const started = until("a child begins", () => lines.length > 0);
  return {
    started,
    /** What it said, without "ready": id and a number. */
    get said(): [string, number][] {
      return lines.slice(1).map((line) => {
        const [id = "", number] = line.split(" ");
        return [id, Number(number)];
      });
    },
    write: (text: string) => input.write(new TextEncoder().encode(`${text}\n`)),
    /** Once; later calls wait for that. */
    kill: () => killed ??= kill(),
  };
}

type Child = ReturnType<typeof startChild>;

/** Registers a test for a server and for the embedded database that processes share. */
function eachTest(name: string, run: (options: Options, broker: PostgresBroker, queue: string) => Promise<void>): void {
  const work = async (options: Options) => {
    await using database = await openDatabase(options);
    await migrate(database);
    await using broker = new PostgresBroker(database.sql, { leaseMs: LEASE_MS });
    const queue = queueName();
    await broker.declare(queue);
    await run(options, broker, queue);
  };
  testWith("postgresql", `PostgresBroker (PostgreSQL, processes): ${name}`, async () => {
    await using server = await sharedPostgres();
    await using fresh = await freshDatabase(server);
    await work(fresh);
  });
  embeddedTest(`PostgresBroker (embedded, processes): ${name}`, async () => {
    const dir = await Deno.makeTempDir({ prefix: "pixl-" });
    try {
      await work({ kind: "embedded", dir: await newEmbedded(dir), shared: true });
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}

eachTest("2,000 messages reach three processes, one of them killed with 20 in hand", async (options, broker, queue) => {
  await broker.publish(queue, messages(2_000));
  const start = (task: string) => startChild(options, { leaseMs: LEASE_MS }, queue, task);
  const holder = start("hold");
  const workers: Child[] = [];
  try {
    await until("it holds 20", () => holder.said.length === 20);
    workers.push(start("consume"), start("consume"));
    const done = () => workers.flatMap(({ said }) => said);
    await until("both work", () => workers.every(({ said }) => said.length > 20));
    await holder.kill();
    await until("all are done", () => done().length >= 2_000);
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, inHand: 0, dead: 0 });
    // Nobody has answered those that were in hand: none may come twice.
    assertEquals(done().map(([id]) => id).sort(), ids(2_000));
    const again = done().filter(([, attempt]) => attempt === 2).map(([id]) => id).sort();
    assertEquals(again, holder.said.map(([id]) => id).sort());
    await depthBecomes(broker, queue, { consumers: 2 });
  } finally {
    await Promise.all([holder, ...workers].map((child) => child.kill()));
  }
});

eachTest(
  "when the process of the one active subscription is killed, the next goes on",
  async (options, broker, queue) => {
    const start = () => startChild(options, { leaseMs: LEASE_MS }, queue, "consume alone");
    const children = [start()];
    try {
      const [first] = children;
      assert(first !== undefined);
      await broker.publish(queue, messages(50));
      await until("the first works", () => first.said.length === 50);
      const second = start();
      children.push(second);
      await depthBecomes(broker, queue, { consumers: 2 });
      await broker.publish(queue, messages(100).slice(50));
      await until("the first goes on", () => first.said.length === 100);
      assertEquals(second.said.length, 0);
      await first.kill();
      const killed = performance.now();
      await broker.publish(queue, messages(150).slice(100));
      await until("the second takes over", () => second.said.length === 50);
      // Renewed three times in that time.
      assertGreater(performance.now() - killed, LEASE_MS / 3);
      assertEquals([...first.said, ...second.said].map(([id]) => id).sort(), ids(150));
    } finally {
      await Promise.all(children.map((child) => child.kill()));
    }
  },
);

testWith(
  "postgresql",
  "PostgresBroker (PostgreSQL, processes): what another process publishes arrives at once",
  async () => {
    await using server = await sharedPostgres();
    await using fresh = await freshDatabase(server);
    await using database = await openDatabase(fresh);
    await migrate(database);
    const options = { listen: true, pollMs: 10_000 };
    await using broker = new PostgresBroker(database.sql, options);
    await broker.declare("q");
    const publisher = startChild(fresh, options, "q", "publish");
    try {
      await publisher.started;
      await using subscription = await broker.subscribe("q");
      const latencies: number[] = [];
      for (const id of ids(3)) {
        const next = subscription.next();
        // By now it looks at 1.3 s and 2.5 s.
        await new Promise((resolve) => setTimeout(resolve, 1_500));
        await publisher.write(id);
        const delivery = await next;
        const arrived = Date.now();
        assertEquals(delivery.messageId, id);
        await delivery.acknowledge();
        await until("it says when", () => publisher.said.some(([said]) => said === id));
        latencies.push(arrived - (publisher.said.find(([said]) => said === id)?.[1] ?? NaN));
      }
      assert(Math.min(...latencies) < 500, `latencies ${latencies} ms`);
    } finally {
      await publisher.kill();
    }
  },
);
