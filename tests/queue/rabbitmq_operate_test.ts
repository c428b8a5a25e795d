import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { consume, encodeMessage, messageId, PublishError, QueueError, RabbitmqBroker } from "@pixl/core/queue";
import { isInstalled, testWith } from "../support/programs.ts";
import { type RabbitmqServer, sharedRabbitmq, startRabbitmq, useSharedRabbitmq, withRaw } from "../support/rabbitmq.ts";
import { study } from "../support/scripted_broker.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { depthBecomes, eventually, ids, message, messages, queueName, take } from "./broker_conformance.ts";

useSharedRabbitmq();

/** One whose settings may be changed. */
let own: RabbitmqServer | undefined;
Deno.test.beforeAll(async () => {
  if (isInstalled("rabbitmq")) own = await startRabbitmq();
});
Deno.test.afterAll(async () => {
  await own?.[Symbol.asyncDispose]();
});

function ownRabbitmq(): RabbitmqServer {
  assert(own !== undefined, "it was not started");
  return own;
}

const rabbitmqTest = (name: string, run: () => Promise<void>) => testWith("rabbitmq", name, run);

rabbitmqTest("RabbitmqBroker: an acknowledgement just before the broker is closed arrives", async () => {
  await using other = await RabbitmqBroker.open(await sharedRabbitmq());
  const queue = queueName();
  await other.declare(queue);
  await other.publish(queue, messages(20));
  for (const id of ids(20)) {
    await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
    const subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    assertEquals(delivery.messageId, id);
    await subscription[Symbol.asyncDispose]();
    await delivery.acknowledge();
  }
  await depthBecomes(other, queue, { ready: 0, delayed: 0, dead: 0 });
});

rabbitmqTest("RabbitmqBroker.walk() shows what RabbitMQ itself gave up, with its reason and time", async () => {
  await using broker = await RabbitmqBroker.open({ ...await sharedRabbitmq(), maxDeliveries: 1 });
  const queue = queueName();
  await broker.declare(queue);
  await broker.publish(queue, [{ ...message("deadly"), priority: 2 }]);
  for (let i = 0; i < 2; i++) {
    await withRaw((channel) => eventually(async () => await channel.get(queue) !== false, "no message"));
  }
  await depthBecomes(broker, queue, { dead: 1 });
  const shown = await broker.walk(queue, "dead", (batch) => {
    const [letter] = batch;
    assertEquals([letter?.messageId, letter?.priority], ["deadly", 2]);
    assertEquals(letter?.death?.reason, "RabbitMQ gave it up (delivery_limit)");
    assertMatch(letter?.death?.at ?? "", /^\d{4}-\d\d-\d\dT/);
    return Promise.resolve(["requeue"]);
  });
  assertEquals(shown, 1);
  // It begins anew: RabbitMQ's own count is forgotten too.
  await using subscription = await broker.subscribe(queue);
  const again = await take(subscription);
  assertEquals([again.messageId, again.attempt], ["deadly", 1]);
  await again.release();
  await (await take(subscription)).acknowledge();
});

rabbitmqTest("to look at messages between attempts never makes a dead letter of them", async () => {
  for (const queueType of ["quorum", "classic"] as const) {
    await using broker = await RabbitmqBroker.open({ ...await sharedRabbitmq(), queueType, maxDeliveries: 3 });
    const queue = queueName();
    await broker.declare(queue);
    await broker.publish(queue, messages(12));
    const keep = (batch: readonly unknown[]) => Promise.resolve(batch.map(() => "keep" as const));
    const handled: string[] = [];
    for (let i = 0; i < 12; i++) {
      assertEquals(await broker.walk(queue, "waiting", keep), 12 - i);
      await broker.age(queue);
      await depthBecomes(broker, queue, { ready: 12 - i, dead: 0 });
      await using subscription = await broker.subscribe(queue);
      const delivery = await take(subscription);
      assertEquals(delivery.attempt, 1);
      handled.push(delivery.messageId);
      await delivery.acknowledge();
    }
    assertEquals(handled.sort(), ids(12), queueType);
    await depthBecomes(broker, queue, { ready: 0, dead: 0 });
  }
});

rabbitmqTest("RabbitmqBroker.walk() has deleted what it was told to when it is closed at once", async () => {
  await using other = await RabbitmqBroker.open(await sharedRabbitmq());
  for (let round = 0; round < 3; round++) {
    const queue = queueName();
    await other.declare(queue);
    await other.publish(queue, messages(500));
    {
      await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
      const all = (batch: readonly unknown[]) => Promise.resolve(batch.map(() => "delete" as const));
      assertEquals(await broker.walk(queue, "waiting", all), 500);
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
    assertEquals((await other.depth(queue)).ready, 0);
  }
});

rabbitmqTest("RabbitmqBroker.walk() rejects with a QueueError when it is cut off", async () => {
  const server = await sharedRabbitmq();
  await using proxy = new TcpProxy(server.port);
  await using broker = await RabbitmqBroker.open({ ...server, port: proxy.port });
  await using direct = await RabbitmqBroker.open(server);
  const queue = queueName();
  await direct.declare(queue);
  await direct.publish(queue, messages(5));
  const error = await assertRejects(() =>
    broker.walk(queue, "waiting", async (batch) => {
      proxy.cut();
      await new Promise((resolve) => setTimeout(resolve, 200));
      return batch.map(() => "delete" as const);
    }), QueueError);
  assertEquals(error.code, "broker-unreachable");
  await depthBecomes(direct, queue, { ready: 5 });
});

rabbitmqTest("two single active subscriptions never take messages at once, though their lock is deleted", async () => {
  await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
  await using other = await RabbitmqBroker.open(await sharedRabbitmq());
  const queue = queueName();
  await broker.declare(queue);
  await broker.publish(queue, messages(2));
  await using first = await broker.subscribe(queue, { singleActive: true });
  const held = await take(first);
  await withRaw((channel) => channel.deleteQueue(`${queue}.consumers`));
  await other.declare(queue);
  await using second = await other.subscribe(queue, { singleActive: true });
  const taken = await take(second);
  assertEquals(held.lost.aborted, true);
  await taken.acknowledge();
});

rabbitmqTest("a subscription goes on uncounted when the queue of the consumers is deleted", async () => {
  await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
  const queue = queueName();
  await broker.declare(queue);
  await using subscription = await broker.subscribe(queue);
  await withRaw((channel) => channel.deleteQueue(`${queue}.consumers`));
  const waiting = take(subscription);
  await broker.publish(queue, messages(1));
  await (await waiting).acknowledge();
});

for (const queueType of ["quorum", "classic"] as const) {
  rabbitmqTest(
    `RabbitMQ's lack of memory wedges no consumer whose handler asks for another attempt (${queueType})`,
    async () => {
      const server = ownRabbitmq();
      const queue = queueName();
      await using broker = await RabbitmqBroker.open({ ...server, queueType });
      await broker.declare(queue);
      const studies = [1, 2, 3].map((n) => study({ procedure_occurrence_id: n }));
      await broker.publish(queue, studies.map((each) => ({ messageId: messageId(each), body: encodeMessage(each) })));
      await server.ctl("set_vm_memory_high_watermark", "0.0000001");
      const tried = new Map<number, number>();
      const limiter = { take: () => Promise.resolve(), refund: () => {} };
      const consumer = await consume(broker, queue, ({ procedure_occurrence_id: n }) => {
        tried.set(n, (tried.get(n) ?? 0) + 1);
        return Promise.resolve(tried.get(n) === 1 ? { kind: "retry", reason: "busy", afterMs: 0 } : { kind: "done" });
      }, { concurrency: 2, limiter });
      await eventually(() => Promise.resolve(tried.size === 2), "nothing was taken");

      const start = performance.now();
      await consumer.stop({ graceMs: 100 });
      assert(performance.now() - start < 6_000, "stop() did not end in time");

      await server.ctl("set_vm_memory_high_watermark", "0.4");
      await using again = await consume(broker, queue, () => Promise.resolve({ kind: "done" }));
      await eventually(async () => {
        const { ready, delayed } = await broker.depth(queue);
        return ready + delayed === 0 && again.stats.done >= 3;
      }, () => `done: ${again.stats.done}`);
    },
  );
}

rabbitmqTest("RabbitmqBroker.publish() tells that the user is gone, and next() waits for it to come back", async () => {
  const server = ownRabbitmq();
  const queue = queueName();
  await server.ctl("add_user", "guest worker", "PWSEED2");
  await server.ctl("set_permissions", "guest worker", ".*", ".*", ".*");
  await using broker = await RabbitmqBroker.open({ ...server, username: "guest worker", password: "PWSEED2" });
  await broker.declare(queue);
  await using subscription = await broker.subscribe(queue);
  const waiting = subscription.next();
  await server.ctl("delete_user", "guest worker");
  await server.ctl("close_all_connections", "test");
  const error = await assertRejects(() => broker.publish(queue, messages(1), { timeoutMs: 6_000 }), PublishError);
  assertInstanceOf(error.cause, QueueError);
  assertEquals(error.cause.code, "broker-refused");
  await server.ctl("add_user", "guest worker", "PWSEED2");
  await server.ctl("set_permissions", "guest worker", ".*", ".*", ".*");
  await broker.publish(queue, messages(1), { retry: true });
  await (await waiting).acknowledge();
});

for (const timeoutMs of [0, -1, NaN, Infinity, 2 ** 31]) {
  rabbitmqTest(`RabbitmqBroker.publish() refuses a timeoutMs of ${timeoutMs} and publishes nothing`, async () => {
    await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
    const queue = queueName();
    await broker.declare(queue);
    await assertRejects(() => broker.publish(queue, messages(3), { timeoutMs }), RangeError, "timeoutMs");
    await depthBecomes(broker, queue, { ready: 0 });
  });
}

rabbitmqTest("RabbitmqBroker.subscribe() that asks for no single consumer stands by while there is one", async () => {
  await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
  await using other = await RabbitmqBroker.open(await sharedRabbitmq());
  const queue = queueName();
  await broker.declare(queue);
  await broker.publish(queue, messages(2));
  const single = await broker.subscribe(queue, { singleActive: true });
  const first = await take(single);
  await using careless = await other.subscribe(queue);
  let taken = false;
  const waiting = take(careless).then((delivery) => {
    taken = true;
    return delivery;
  });
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  assertEquals(taken, false);

  await single[Symbol.asyncDispose]();
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  assertEquals(taken, false, "something is still in hand");
  await first.acknowledge();
  await (await waiting).acknowledge();
});

rabbitmqTest("a job that is longer than RabbitMQ's consumer_timeout is lost with the words to mend it", async () => {
  const server = ownRabbitmq();
  const queue = queueName();
  await server.ctl(
    "eval",
    "application:set_env(rabbit, consumer_timeout, 1000), application:set_env(rabbit, channel_tick_interval, 500).",
  );
  await using broker = await RabbitmqBroker.open(server);
  await broker.declare(queue);
  await broker.publish(queue, [{ messageId: messageId(study()), body: encodeMessage(study()) }]);
  const reasons: unknown[] = [];
  await using consumer = await consume(broker, queue, (_, { signal }) => {
    if (reasons.length > 0) return Promise.resolve({ kind: "done" });
    return new Promise((_, reject) =>
      signal.addEventListener("abort", () => {
        reasons.push(signal.reason);
        reject(signal.reason);
      }, { once: true })
    );
  });
  await consumer.idle();
  assert(reasons[0] instanceof QueueError);
  assertEquals(reasons[0].code, "delivery-lost");
  assertStringIncludes(reasons[0].message, "RabbitMQ's consumer_timeout of 1000 ms: set it in rabbitmq.conf above");
  const { done, returned, lastError } = consumer.stats;
  assertEquals([done, returned], [1, 1]);
  assertStringIncludes(lastError?.reason ?? "", "consumer_timeout");
  await server.ctl(
    "eval",
    "application:set_env(rabbit, consumer_timeout, 1800000), application:set_env(rabbit, channel_tick_interval, 60000).",
  );
});

rabbitmqTest("RabbitmqBroker.publish() with retry carries on after every cut, without loss", async () => {
  const server = await sharedRabbitmq();
  await using proxy = new TcpProxy(server.port);
  await using direct = await RabbitmqBroker.open(server);
  await using broker = await RabbitmqBroker.open({ ...server, port: proxy.port });
  const queue = queueName();
  await direct.declare(queue);
  async function* withCuts() {
    for (const [i, each] of messages(2_000).entries()) {
      if (i % 400 === 399) proxy.cut();
      if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      yield each;
    }
  }
  assertEquals(await broker.publish(queue, withCuts(), { retry: true }), 2_000);
  const seen = new Set<string>();
  await direct.walk(queue, "waiting", (batch) => {
    for (const { messageId } of batch) seen.add(messageId);
    return Promise.resolve(batch.map(() => "delete" as const));
  });
  assertEquals([...seen].sort(), ids(2_000));
  await depthBecomes(direct, queue, { ready: 0 });
});

rabbitmqTest("RabbitmqBroker.publish() with retry lists what time did not allow", async () => {
  const server = await sharedRabbitmq();
  await using proxy = new TcpProxy(server.port);
  await using broker = await RabbitmqBroker.open({ ...server, port: proxy.port });
  const queue = queueName();
  await broker.declare(queue);
  proxy.refusing = true;
  proxy.cut();
  const error = await assertRejects(() => broker.publish(queue, messages(5), { retry: true, timeoutMs: 700 }));
  assertEquals(error instanceof Error && "unconfirmed" in error && error.unconfirmed, ids(5));
});

rabbitmqTest("RabbitmqBroker.publish() with retry does not insist on a queue that is not there", async () => {
  await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
  const start = performance.now();
  await assertRejects(() => broker.publish(queueName(), messages(5), { retry: true }));
  assert(performance.now() - start < 5_000);
});
