import { migrate, openDatabase } from "@pixl/core/database";
import { consume, PostgresBroker, RabbitmqBroker } from "@pixl/core/queue";
import { type RabbitmqAddress, startRabbitmq } from "../support/rabbitmq.ts";
import { isInstalled } from "../support/programs.ts";
import { type BenchRow, compare, perSecond, rowOf } from "./bench.ts";
import { openAmqplib, openRabbitmqClient } from "./queue_peers.ts";
import { studies } from "./studies.ts";

/** Fewer are over before the broker's pace can be told from its hiccups. */
const MESSAGES = 100_000;
const CONCURRENCY = 100;

/** The queues, beside clients without this project's promises. */
export async function benchQueue(): Promise<BenchRow[]> {
  return [...await benchEmbedded(), ...isInstalled("rabbitmq") ? await benchRabbitmq() : []];
}

/** Publishing to the embedded queue, beside inserting the same rows without one. */
async function benchEmbedded(): Promise<BenchRow[]> {
  const dir = await Deno.makeTempDir({ prefix: "pixl-bench-" });
  try {
    await using database = await openDatabase({ kind: "embedded", dir: `${dir}/data` });
    await migrate(database);
    await using broker = new PostgresBroker(database.sql);
    await broker.declare("bench");
    await database.sql`create table bench (id text, body bytea)`;
    const messages = [...studies(MESSAGES)];
    return [
      await compare({
        area: "queue",
        name: "publish, embedded",
        unit: "messages/s",
        goal: 0.5,
        rounds: 3,
        ours: async () => {
          await database.sql`truncate pixl_pipeline.message`;
          return await perSecond(MESSAGES, () => broker.publish("bench", messages));
        },
        peers: {
          "bare unnest": async () => {
            await database.sql`truncate bench`;
            return await perSecond(MESSAGES, async () => {
              for (let at = 0; at < MESSAGES; at += 1_000) {
                const batch = messages.slice(at, at + 1_000);
                await database.sql`
                  insert into bench (id, body)
                  select id, decode(body, 'hex')
                  from unnest(${batch.map(({ messageId }) => messageId)}::text[], ${
                  batch.map(({ body }) => body.toHex())
                }::text[]) as t (id, body)`;
              }
            });
          },
        },
      }),
    ];
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** All of them on one private RabbitMQ, on one queue as this project declares it. */
async function benchRabbitmq(): Promise<BenchRow[]> {
  await using server = await startRabbitmq();
  await using broker = await RabbitmqBroker.open(server);
  const queue = "bench";
  await broker.declare(queue);
  const messages = [...studies(MESSAGES)];
  await using raw = await openAmqplib(server);
  await using peer = openRabbitmqClient(server);
  const area = "queue";
  const unit = "messages/s";

  const published = async (work: () => Promise<unknown>) => {
    const rate = await perSecond(MESSAGES, work);
    await broker.purge(queue);
    return rate;
  };
  const publish = await compare({
    area,
    name: "publish, confirmed, RabbitMQ",
    unit,
    goal: 0.9,
    rounds: 3,
    ours: () => published(() => broker.publish(queue, messages)),
    peers: {
      "amqplib, 1,000 in flight": () => published(() => raw.publish(queue, messages)),
      "rabbitmq-client, 1,000 in flight": () => published(() => peer.publish(queue, messages)),
    },
  });

  const consumed = async (work: () => Promise<unknown>) => {
    await broker.publish(queue, messages);
    return await perSecond(MESSAGES, work);
  };
  const taking = await compare({
    area,
    name: "consume and acknowledge, RabbitMQ",
    unit,
    goal: 0.85,
    rounds: 3,
    ours: () =>
      consumed(async () => {
        const all = Promise.withResolvers<void>();
        let done = 0;
        await using _consumer = await consume(broker, queue, () => Promise.resolve({ kind: "done" }), {
          concurrency: CONCURRENCY,
          onOutcome: () => ++done === MESSAGES && all.resolve(),
        });
        await all.promise;
      }),
    peers: { "amqplib, prefetch 100": () => consumed(() => raw.consume(queue, MESSAGES)) },
  });
  return [publish, taking, await benchMemory(server)];
}

/** Most memory of a process that publishes a million messages from a generator, beside the 250 MB that it may have. */
async function benchMemory(server: RabbitmqAddress): Promise<BenchRow> {
  const { stdout, success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", new URL("./publish_child.ts", import.meta.url).href, JSON.stringify(server)],
    stdin: "null",
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("The process that publishes a million messages failed");
  const megabytes = Number(new TextDecoder().decode(stdout)) / 1e6;
  return rowOf({
    area: "queue",
    name: "publish 1,000,000 from a generator, RabbitMQ, memory",
    unit: "1/MB",
    goal: 1,
    ours: 1 / megabytes,
    peers: { "250 MB": 1 / 250 },
  });
}
