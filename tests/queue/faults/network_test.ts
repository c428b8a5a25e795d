import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { delay } from "@std/async";
import * as amqp from "amqplib";
import { consume, PublishError, QueueError, RabbitmqBroker, type RabbitmqOptions } from "@pixl/core/queue";
import { testWith } from "../../support/programs.ts";
import { type RabbitmqAddress, sharedRabbitmq, useSharedRabbitmq } from "../../support/rabbitmq.ts";
import { TcpProxy } from "../../support/tcp_proxy.ts";
import { until } from "../../support/until.ts";
import { depthBecomes, queueName, rejectsWith } from "../broker_conformance.ts";
import { type Fault, IN_HAND, numbered, numbersFrom, survives } from "./scenario.ts";

useSharedRabbitmq();

interface NetworkFault extends Fault<TcpProxy> {
  readonly options?: Partial<RabbitmqOptions>;
  /** With classic queues too. */
  readonly classic?: true;
}

const FAULTS: Readonly<Record<string, NetworkFault>> = {
  "connections are reset three times": {
    repeats: 3 * IN_HAND,
    classic: true,
    strike: resetThreeTimes,
  },
  "connections of a paced consumer are reset three times": {
    repeats: 6 * IN_HAND,
    classic: true,
    paced: true,
    strike: resetThreeTimes,
  },
  "nothing can be reached for a while": {
    repeats: IN_HAND,
    classic: true,
    strike: async (proxy) => {
      proxy.refusing = true;
      proxy.cut();
      await until("it was tried several times", () => proxy.refused > 4);
      proxy.refusing = false;
    },
  },
  "the network stalls for 2 s": {
    repeats: 0,
    strike: async (proxy) => {
      proxy.freeze();
      await delay(2_000);
      proxy.thaw();
    },
  },
  "everything comes in slices of odd lengths": {
    repeats: 0,
    strike: async (proxy) => {
      proxy.slices = [1, 1, 2, 3, 7, 1, 8, 61, 5, 1, 509, 1_021, 4_093];
      await delay(2_000);
    },
  },
  "a firewall forgets the connections and lets none through for a while": {
    repeats: IN_HAND,
    options: { heartbeatSeconds: 1, connectTimeoutMs: 1_000 },
    strike: async (proxy) => {
      proxy.swallowing = true;
      await until("both were opened again, in vain", () => proxy.connections > 3);
      proxy.swallowing = false;
    },
  },
  "others on its connection ask for queues that are not there (404)": {
    repeats: 0,
    strike: async (_, { broker }) => {
      for (let time = 0; time < 10; time++) {
        const missing = queueName();
        await rejectsWith("queue-missing", () => broker.depth(missing));
        await rejectsWith("queue-missing", () => broker.purge(missing));
        await rejectsWith("queue-missing", () => broker.subscribe(missing));
        await rejectsWith("queue-missing", () => broker.subscribe(missing, { prefetch: 5 }));
      }
    },
  },
};

for (const [name, { repeats, strike, options, classic }] of Object.entries(FAULTS)) {
  for (const queueType of classic ? ["quorum", "classic"] as const : ["quorum"] as const) {
    testWith("rabbitmq", `2,000 messages survive that ${name} (${queueType})`, async () => {
      const server = await sharedRabbitmq();
      await using proxy = new TcpProxy(server.port);
      await survives({ ...server, port: proxy.port, queueType, ...options }, { repeats, strike }, proxy);
    });
  }
}

for (const queueType of ["quorum", "classic"] as const) {
  testWith(
    "rabbitmq",
    `2,000 messages survive that their queue is deleted and declared again (${queueType})`,
    async () => {
      const server = await sharedRabbitmq();
      await using broker = await RabbitmqBroker.open({ ...server, queueType });
      const queue = queueName();
      await broker.declare(queue);
      const handled: number[] = [];
      const work = () =>
        consume(broker, queue, ({ procedure_occurrence_id: id }) => {
          handled.push(id);
          return Promise.resolve({ kind: "done" });
        }, { concurrency: 50 });
      await using consumer = await work();

      async function* source() {
        yield* numbered(0, 700);
        await until("all are handled, since a queue takes its messages with it", () => handled.length === 700);
        await consumer.idle();
        await deleteQueue(server, queue);
        await rejectsWith("queue-missing", () => consumer.finished);
        yield* numbered(700, 1_300);
      }
      const error = await assertRejects(() => broker.publish(queue, source()), PublishError);
      assertInstanceOf(error.cause, QueueError);
      assertEquals([error.confirmed, error.cause.code], [700, "queue-missing"]);
      assertEquals(error.unconfirmed.map(Number), numbersFrom(700, 1_300));

      await broker.declare(queue);
      await using again = await work();
      assertEquals(await broker.publish(queue, numbered(700, 1_300)), 1_300);
      await again.idle();
      assertEquals(handled.toSorted((a, b) => a - b), numbersFrom(0, 2_000));
      await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 0 });
    },
  );
}

async function resetThreeTimes(proxy: TcpProxy): Promise<void> {
  for (let time = 0; time < 3; time++) {
    // Closed with bytes unread, a connection is reset; see RFC 1122, 4.2.2.13.
    proxy.freeze();
    await delay(100);
    proxy.cut();
    proxy.thaw();
    await until("they are back", () => proxy.connected === 2);
  }
}

async function deleteQueue({ host, port, username, password }: RabbitmqAddress, queue: string): Promise<void> {
  const connection = await amqp.connect({ hostname: host, port, username, password });
  await (await connection.createChannel()).deleteQueue(queue);
  await connection.close();
}
