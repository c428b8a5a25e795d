import { assertRejects } from "@std/assert";
import { delay } from "@std/async";
import { PublishError, RabbitmqBroker, type RabbitmqOptions } from "@pixl/core/queue";
import { isInstalled, testWith } from "../../support/programs.ts";
import { type RabbitmqServer, startRabbitmq } from "../../support/rabbitmq.ts";
import { until } from "../../support/until.ts";
import { queueName, rejectsWith } from "../broker_conformance.ts";
import { ALL, type Fault, IN_HAND, numbered, survives } from "./scenario.ts";

let own: RabbitmqServer | undefined;

Deno.test.beforeAll(async () => {
  if (isInstalled("rabbitmq")) own = await startRabbitmq();
});
Deno.test.afterAll(async () => {
  await own?.[Symbol.asyncDispose]();
});

interface ServerFault extends Fault<RabbitmqServer> {
  readonly restarts?: true;
  readonly options?: Partial<RabbitmqOptions>;
}

const FAULTS: Readonly<Record<string, ServerFault>> = {
  "RabbitMQ is restarted": {
    repeats: IN_HAND,
    restarts: true,
    strike: (server) => server.restart(),
  },
  "RabbitMQ is killed and started again": {
    repeats: IN_HAND,
    restarts: true,
    strike: killAndRestart,
  },
  "RabbitMQ is killed with a classic queue and started again": {
    // It writes later which messages of a classic queue were acknowledged.
    repeats: ALL,
    restarts: true,
    options: { queueType: "classic" },
    strike: killAndRestart,
  },
  "RabbitMQ is killed under a paced consumer and started again": {
    // Of those that are put back, a copy may be there before the original is acknowledged.
    repeats: 2 * IN_HAND,
    restarts: true,
    paced: true,
    strike: killAndRestart,
  },
  "an operator closes all connections": {
    repeats: IN_HAND,
    strike: closeAllConnections,
  },
  "an operator closes all connections of a paced consumer": {
    repeats: 2 * IN_HAND,
    paced: true,
    strike: closeAllConnections,
  },
  "RabbitMQ is short of memory for a while": {
    repeats: 0,
    strike: async (server, { broker }) => {
      const other = queueName();
      await broker.declare(other);
      await server.ctl("set_vm_memory_high_watermark", "0.0000001");
      await assertRejects(() => broker.publish(other, numbered(0, 1), { timeoutMs: 300 }), PublishError, "0 confirmed");
      await server.ctl("set_vm_memory_high_watermark", "0.4");
    },
  },
  "RabbitMQ hangs for 6 s, longer than its heartbeat": {
    repeats: IN_HAND,
    options: { heartbeatSeconds: 1, connectTimeoutMs: 2_000 },
    strike: async (server) => {
      await server.pause();
      await delay(6_000);
      await server.resume();
    },
  },
  "the user is deleted, and made again": {
    repeats: IN_HAND,
    strike: async (server) => {
      await server.ctl("delete_user", server.username);
      await rejectsWith("broker-refused", async () => {
        await using _broker = await RabbitmqBroker.open(server);
      });
      await server.ctl("import_definitions", `${server.dir}/definitions.json`);
      await until("the user may come in again", () =>
        RabbitmqBroker.open(server).then(
          (broker) => broker[Symbol.asyncDispose]().then(() => true),
          () => false,
        ));
    },
  },
};

for (const [name, { repeats, strike, restarts = false, options }] of Object.entries(FAULTS)) {
  testWith("rabbitmq", `2,000 messages survive that ${name}`, async () => {
    if (own === undefined) throw new Error("RabbitMQ did not start");
    await survives({ ...own, ...options }, { repeats, strike }, own);
  }, { own: true, restarts });
}

async function closeAllConnections(server: RabbitmqServer): Promise<void> {
  await server.ctl("close_all_connections", "an operator wants it");
}

async function killAndRestart(server: RabbitmqServer): Promise<void> {
  await server.kill();
  await server.restart();
}
