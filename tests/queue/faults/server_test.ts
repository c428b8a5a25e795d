import { assertRejects } from "@std/assert";
import { delay } from "@std/async";
import { PublishError, RabbitmqBroker } from "@pixl/core/queue";
import { isInstalled, testWith } from "../../support/programs.ts";
import { type RabbitmqServer, startRabbitmq } from "../../support/rabbitmq.ts";
import { until } from "../../support/until.ts";
import { rejectsWith } from "../broker_conformance.ts";
import { type Fault, numbered, type Scene, survives } from "./scenario.ts";

let own: RabbitmqServer | undefined;

Deno.test.beforeAll(async () => {
  if (isInstalled("rabbitmq")) own = await startRabbitmq();
});
Deno.test.afterAll(async () => {
  await own?.[Symbol.asyncDispose]();
});

interface ServerFault extends Omit<Fault, "strike"> {
  readonly strike: (server: RabbitmqServer, scene: Scene) => Promise<void>;
  readonly restarts?: true;
  /** With classic queues too. */
  readonly classic?: true;
}

const FAULTS: Readonly<Record<string, ServerFault>> = {
  "RabbitMQ is restarted": {
    cuts: 1,
    restarts: true,
    strike: (server) => server.restart(),
  },
  "RabbitMQ is killed and started again": {
    cuts: 1,
    restarts: true,
    classic: true,
    strike: async (server) => {
      await server.kill();
      await server.restart();
    },
  },
  "an operator closes all connections": {
    cuts: 1,
    strike: async (server) => {
      await server.ctl("close_all_connections", "an operator wants it");
    },
  },
  "RabbitMQ is short of memory for a while": {
    cuts: 0,
    strike: async (server, { broker, queue }) => {
      await server.ctl("set_vm_memory_high_watermark", "0.0000001");
      await assertRejects(() => broker.publish(queue, numbered(0, 1), { timeoutMs: 300 }), PublishError, "0 confirmed");
      await server.ctl("set_vm_memory_high_watermark", "0.4");
    },
  },
  "RabbitMQ hangs for 6 s, longer than its heartbeat": {
    cuts: 1,
    strike: async (server) => {
      await server.pause();
      await delay(6_000);
      await server.resume();
    },
  },
  "the user is deleted, and made again": {
    cuts: 1,
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

for (const [name, { cuts, strike, restarts = false, classic }] of Object.entries(FAULTS)) {
  for (const queueType of classic ? ["quorum", "classic"] as const : ["quorum"] as const) {
    testWith("rabbitmq", `2,000 messages survive that ${name} (${queueType})`, async () => {
      if (own === undefined) throw new Error("RabbitMQ did not start");
      const server = own;
      const options = { ...server, queueType, heartbeatSeconds: 1, connectTimeoutMs: 2_000 };
      await survives(options, { cuts, strike: (scene) => strike(server, scene) });
    }, { own: true, restarts });
  }
}
