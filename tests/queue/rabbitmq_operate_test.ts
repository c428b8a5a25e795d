import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { consume, encodeMessage, messageId, QueueError, RabbitmqBroker } from "@pixl/core/queue";
import { testWith } from "../support/programs.ts";
import { sharedRabbitmq, startRabbitmq, useSharedRabbitmq, withRaw } from "../support/rabbitmq.ts";
import { study } from "../support/scripted_broker.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { depthBecomes, eventually, ids, message, messages, queueName, take } from "./broker_conformance.ts";

useSharedRabbitmq();

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

rabbitmqTest("RabbitmqBroker.age() any number of times makes no dead letter", async () => {
  for (const queueType of ["quorum", "classic"] as const) {
    await using broker = await RabbitmqBroker.open({ ...await sharedRabbitmq(), queueType, maxDeliveries: 3 });
    const queue = queueName();
    await broker.declare(queue);
    await broker.publish(queue, messages(1));
    for (let i = 0; i < 20; i++) {
      await eventually(async () => await broker.age(queue) !== undefined, "the message is gone");
    }
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    assertEquals(delivery.attempt, 1);
    await delivery.acknowledge();
    await depthBecomes(broker, queue, { ready: 0, dead: 0 });
  }
});

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
  await using server = await startRabbitmq();
  await server.ctl(
    "eval",
    "application:set_env(rabbit, consumer_timeout, 1000), application:set_env(rabbit, channel_tick_interval, 500).",
  );
  await using broker = await RabbitmqBroker.open(server);
  await broker.declare("pacs");
  await broker.publish("pacs", [{ messageId: messageId(study()), body: encodeMessage(study()) }]);
  const reasons: unknown[] = [];
  await using consumer = await consume(broker, "pacs", (_, { signal }) => {
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
  const seen = new Map<string, number>();
  await direct.walk(queue, "waiting", (batch) => {
    for (const { messageId } of batch) seen.set(messageId, (seen.get(messageId) ?? 0) + 1);
    return Promise.resolve(batch.map(() => "delete" as const));
  });
  assertEquals([...seen.keys()].sort(), ids(2_000));
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
