import {
  assert,
  assertEquals,
  assertGreater,
  assertInstanceOf,
  assertLess,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { deadline } from "@std/async";
import { type OutgoingMessage, PublishError, QueueError, RabbitmqBroker } from "@pixl/core/queue";
import { sharedRabbitmq, startRabbitmq, useSharedRabbitmq } from "../support/rabbitmq.ts";
import { testWith } from "../support/programs.ts";
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
import { TcpProxy } from "../support/tcp_proxy.ts";

useSharedRabbitmq();

const rabbitmqTest = (name: string, run: () => Promise<void>) => testWith("rabbitmq", name, run, { own: true });

interface Scene {
  readonly broker: RabbitmqBroker;
  readonly proxy: TcpProxy;
  /** Past the proxy. */
  readonly direct: RabbitmqBroker;
  readonly queue: string;
}

/** A declared queue, and a broker whose connection can be cut. */
async function withScene(
  run: (scene: Scene) => Promise<void>,
  more: { heartbeatSeconds?: number } = {},
): Promise<void> {
  const server = await sharedRabbitmq();
  await using proxy = new TcpProxy(server.port);
  const { host, username, password } = server;
  await using direct = await RabbitmqBroker.open(server);
  await using broker = await RabbitmqBroker.open({ host, port: proxy.port, username, password, ...more });
  const queue = queueName();
  await direct.declare(queue);
  await run({ broker, proxy, direct, queue });
}

/** Cuts the connection, keeps it from coming back, and waits until the broker knows. */
async function disconnect({ broker, proxy, direct, queue }: Scene): Promise<void> {
  await direct.publish(queue, [message("held")]);
  const subscription = await broker.subscribe(queue);
  const held = await take(subscription);
  proxy.refusing = true;
  proxy.cut();
  await eventually(() => Promise.resolve(held.lost.aborted), "the delivery was not lost");
}

for (const prefetch of [0, 20]) {
  rabbitmqTest(`nothing is lost when the connection is cut while consuming (prefetch ${prefetch})`, async () => {
    await withScene(async ({ broker, proxy, direct, queue }) => {
      await direct.publish(queue, messages(300));
      await using subscription = await broker.subscribe(queue, { prefetch });
      const acknowledged = new Set<string>();
      let cuts = 0;
      let lost = 0;
      for (let taken = 1; acknowledged.size < 300; taken++) {
        const delivery = await take(subscription);
        if (taken % 70 === 0) {
          cuts++;
          proxy.cut();
          await eventually(() => Promise.resolve(delivery.lost.aborted), "the delivery was not lost");
        }
        try {
          await delivery.acknowledge();
          acknowledged.add(delivery.messageId);
        } catch (error) {
          assert(error instanceof QueueError && error.code === "delivery-lost", String(error));
          lost++;
        }
      }
      assertEquals([...acknowledged].sort(), ids(300));
      assertGreater(cuts, 3);
      assertEquals(lost, cuts);
      await depthBecomes(direct, queue, { ready: 0, delayed: 0, dead: 0 });
    });
  });
}

rabbitmqTest("a delivery is lost with its connection, whatever the answer", async () => {
  await withScene(async ({ broker, proxy, direct, queue }) => {
    await direct.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    proxy.cut();
    await eventually(() => Promise.resolve(delivery.lost.aborted), "the delivery was not lost");
    await rejectsWith("delivery-lost", () => delivery.acknowledge());
    await rejectsWith("delivery-lost", () => delivery.release());
    await rejectsWith("delivery-lost", () => delivery.retry(0));
    await rejectsWith("delivery-lost", () => delivery.deadLetter("refused"));
    await depthBecomes(direct, queue, { ready: 1, delayed: 0, dead: 0 });
  });
});

rabbitmqTest(
  "publish() lists exactly what was not confirmed when the connection is cut, and carries on with the rest",
  async () => {
    await withScene(async ({ broker, proxy, direct, queue }) => {
      async function* cutTwice(): AsyncGenerator<OutgoingMessage> {
        for (const [i, each] of messages(4_000).entries()) {
          if (i === 1_000 || i === 2_500) proxy.cut();
          if (i % 100 === 0) await Promise.resolve();
          yield each;
        }
      }
      const outcome = await broker.publish(queue, cutTwice()).catch((error) => error);
      assertInstanceOf(outcome, PublishError);
      assertEquals(outcome.confirmed + outcome.unconfirmed.length, 4_000);
      assertEquals(new Set(outcome.unconfirmed).size, outcome.unconfirmed.length);
      assertGreater(outcome.confirmed, 0);

      const there = await takeAll(direct, queue);
      for (const id of ids(4_000)) assert(there.has(id) || outcome.unconfirmed.includes(id), `${id} is gone`);

      await broker.publish(queue, outcome.unconfirmed.map(message));
      const again = await takeAll(direct, queue);
      assertEquals([...again].sort(), [...outcome.unconfirmed].sort());
    });
  },
);

rabbitmqTest("publish() waits for a connection that comes back", async () => {
  await withScene(async (scene) => {
    const { broker, proxy, direct, queue } = scene;
    await disconnect(scene);
    const publishing = broker.publish(queue, [message("after")]);
    await eventually(() => Promise.resolve(proxy.refused > 1), "it does not try to connect again");
    proxy.refusing = false;
    assertEquals(await publishing, 1);
    await depthBecomes(direct, queue, { ready: 2 });
  });
});

rabbitmqTest("publish() ends after its time-out when the broker hangs, and lists everything", async () => {
  await withScene(async ({ broker, proxy, queue }) => {
    await broker.publish(queue, messages(1));
    proxy.freeze();
    const start = performance.now();
    const error = await assertRejects(() => broker.publish(queue, messages(9_000), { timeoutMs: 500 }), PublishError);
    assertEquals([...error.unconfirmed].sort(), ids(9_000));
    assertInstanceOf(error.cause, QueueError);
    assertEquals(error.cause.code, "broker-unreachable");
    assertLess(performance.now() - start, 3_000);
    proxy.thaw();
  });
});

rabbitmqTest("publish() ends after its time-out while there is no connection", async () => {
  await withScene(async (scene) => {
    await disconnect(scene);
    const { broker, queue } = scene;
    const error = await assertRejects(() => broker.publish(queue, messages(3), { timeoutMs: 300 }), PublishError);
    assertEquals([...error.unconfirmed].sort(), ids(3));
  });
});

rabbitmqTest("calls end with the reason of their signal while there is no connection", async () => {
  await withScene(async (scene) => {
    await disconnect(scene);
    const { broker, queue } = scene;
    const controller = new AbortController();
    const { signal } = controller;
    const reason = new Error("stop");
    const calls = [
      broker.publish(queue, messages(1), { signal }),
      broker.declare(queue, { signal }),
      broker.subscribe(queue, { signal }),
      broker.depth(queue, { signal }),
      broker.purge(queue, { signal }),
    ].map(rejection);
    await Promise.resolve();
    controller.abort(reason);
    for (const error of await Promise.all(calls)) assertStrictEquals(error, reason);
  });
});

rabbitmqTest("calls end as closed when the broker is closed while there is no connection", async () => {
  await withScene(async (scene) => {
    await disconnect(scene);
    const { broker, queue } = scene;
    const calls = [broker.declare(queue), broker.subscribe(queue), broker.depth(queue), broker.purge(queue)];
    const ends = calls.map((call) => rejectsWith("closed", () => call));
    const publishing = rejection(broker.publish(queue, messages(2)));
    await broker[Symbol.asyncDispose]();
    await Promise.all(ends);
    const error = await publishing;
    assertInstanceOf(error, PublishError);
    assertEquals([...error.unconfirmed].sort(), ids(2));
  });
});

rabbitmqTest("closing the broker takes no longer than a few seconds when RabbitMQ hangs", async () => {
  await withScene(async ({ broker, proxy, direct, queue }) => {
    await direct.publish(queue, messages(3));
    const subscription = await broker.subscribe(queue, { prefetch: 2 });
    const delivery = await take(subscription);
    proxy.freeze();
    const publishing = rejection(broker.publish(queue, messages(1)));
    const start = performance.now();
    await broker[Symbol.asyncDispose]();
    assertLess(performance.now() - start, 6_000);
    assertEquals(delivery.lost.aborted, true);
    assertInstanceOf(await publishing, PublishError);
    proxy.thaw();
    proxy.cut();
    await depthBecomes(direct, queue, { ready: 3 });
  });
});

rabbitmqTest("closing the broker ends an attempt to connect again", async () => {
  await withScene(async ({ broker, proxy }) => {
    proxy.freeze();
    proxy.cut();
    await eventually(() => Promise.resolve(proxy.connected === 2), "it does not connect again");
    const start = performance.now();
    await broker[Symbol.asyncDispose]();
    assertLess(performance.now() - start, 1_000);
  });
});

rabbitmqTest("a hung connection is noticed by its heartbeat", async () => {
  await withScene(async ({ broker, proxy, direct, queue }) => {
    await direct.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    proxy.freeze();
    await eventually(() => Promise.resolve(delivery.lost.aborted), "the delivery was not lost");
    proxy.cut();
    proxy.thaw();
    const again = await take(subscription);
    assertEquals(again.messageId, delivery.messageId);
    await again.acknowledge();
  }, { heartbeatSeconds: 1 });
});

rabbitmqTest("what was confirmed survives RabbitMQ's sudden end, and all goes on afterwards", async () => {
  await using server = await startRabbitmq();
  await using broker = await RabbitmqBroker.open(server);
  const queue = queueName();
  await broker.declare(queue);
  await broker.publish(queue, messages(500));
  await using pulling = await broker.subscribe(queue);
  await using pushing = await broker.subscribe(queue, { prefetch: 5 });
  const done = await take(pulling);
  await done.acknowledge();
  const [retried, held] = [await take(pulling), await take(pushing)];
  await retried.retry(64_000);

  await server.kill();
  await eventually(() => Promise.resolve(held.lost.aborted), "the delivery was not lost");
  const waiting = pulling.next(); // the server may take its time
  await server.restart();

  const seen = new Set([(await deadline(waiting, 15_000)).messageId]);
  await broker.publish(queue, [message("afterwards")]);
  while (!seen.has("afterwards")) {
    const delivery = await take(pushing);
    seen.add(delivery.messageId);
    await delivery.acknowledge();
  }
  // Acknowledgements may have been lost with the server: then those two came again.
  const missing = ids(500).filter((id) => !seen.has(id));
  assert(missing.every((id) => id === done.messageId || id === retried.messageId), `missing: ${missing}`);
  await depthBecomes(broker, queue, { ready: 0, dead: 0, delayed: 1 });
});

rabbitmqTest(
  "while RabbitMQ is short of memory publish() waits, up to its time-out, and messages are taken all the same",
  async () => {
    await using server = await startRabbitmq();
    await using broker = await RabbitmqBroker.open(server);
    const queue = queueName();
    await broker.declare(queue);
    await broker.publish(queue, messages(10));
    await using subscription = await broker.subscribe(queue);
    await server.ctl("set_vm_memory_high_watermark", "0.0000001");
    const error = await assertRejects(() => broker.publish(queue, messages(3_000), { timeoutMs: 1_000 }), PublishError);
    assertEquals(error.unconfirmed.length, 3_000);
    for (const id of ids(10)) {
      const delivery = await take(subscription);
      assertEquals(delivery.messageId, id);
      await delivery.acknowledge();
    }
    await depthBecomes(broker, queue, { ready: 0 });
    const publishing = broker.publish(queue, [message("later")]);
    await server.ctl("set_vm_memory_high_watermark", "0.4");
    assertEquals(await publishing, 1);
  },
);

rabbitmqTest(
  "a process ends at once when its broker is closed, though RabbitMQ hangs, and needs no permission but its address",
  async () => {
    const server = await sharedRabbitmq();
    await using proxy = new TcpProxy(server.port);
    const { host, username, password } = server;
    const options = { host, port: proxy.port, username, password };
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        `--allow-net=${host}:${proxy.port}`,
        new URL("./rabbitmq_child.ts", import.meta.url).href,
        JSON.stringify(options),
        queueName(),
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assertEquals((await output.read()).value, "ready\n");
    proxy.freeze();
    const input = child.stdin.getWriter();
    await input.write(new Uint8Array([10]));
    await input.close();
    assertEquals((await output.read()).value, "closed\n");
    const start = performance.now();
    assertEquals((await child.status).code, 0);
    assertLess(performance.now() - start, 1_000);
    await output.cancel();
  },
);

async function takeAll(broker: RabbitmqBroker, queue: string): Promise<Set<string>> {
  await using subscription = await broker.subscribe(queue, { prefetch: 100 });
  const seen = new Set<string>();
  for (;;) {
    const delivery = await subscription.next({ signal: AbortSignal.timeout(500) }).catch(() => undefined);
    if (delivery === undefined) return seen;
    seen.add(delivery.messageId);
    await delivery.acknowledge();
  }
}
