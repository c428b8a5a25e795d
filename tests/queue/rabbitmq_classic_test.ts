import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Buffer } from "node:buffer";
import type * as amqp from "amqplib";
import { type OutgoingMessage, type Priority, QueueError, RabbitmqBroker } from "@pixl/core/queue";
import { testWith } from "../support/programs.ts";
import { sharedRabbitmq, useSharedRabbitmq, withRaw } from "../support/rabbitmq.ts";
import { depthBecomes, eventually, message, messages, queueName, take } from "./broker_conformance.ts";

useSharedRabbitmq();

const rabbitmqTest = (name: string, run: () => Promise<void>) => testWith("rabbitmq", name, run);
const openClassic = async (more: { maxDeliveries?: number } = {}) =>
  await RabbitmqBroker.open({ ...await sharedRabbitmq(), queueType: "classic", ...more });

/** As the Python PIXL of 2025 declares it. */
const declareAsPython = (channel: amqp.Channel, queue: string) =>
  channel.assertQueue(queue, { durable: true, arguments: { "x-max-priority": 5 } });

rabbitmqTest("RabbitmqBroker.declare() takes the queue that the Python PIXL has declared, classic", async () => {
  const queue = queueName();
  await withRaw((channel) => declareAsPython(channel, queue));
  await using broker = await openClassic();
  await broker.declare(queue);
  assertEquals(await broker.publish(queue, messages(1)), 1);
});

rabbitmqTest("RabbitmqBroker.declare() makes a classic queue that the Python PIXL can declare", async () => {
  const queue = queueName();
  await using broker = await openClassic();
  await broker.declare(queue);
  await broker.publish(queue, messages(3));
  const { messageCount } = await withRaw((channel) => declareAsPython(channel, queue));
  assertEquals(messageCount, 3);
});

rabbitmqTest("RabbitmqBroker.declare() says which queueType fits a queue of the other kind", async () => {
  const queue = queueName();
  await withRaw((channel) => declareAsPython(channel, queue));
  await using quorum = await RabbitmqBroker.open(await sharedRabbitmq());
  const error = await assertRejects(() => quorum.declare(queue), QueueError);
  assertEquals(error.code, "queue-mismatch");
  assertStringIncludes(
    error.message,
    "if it is the Python PIXL's, open RabbitMQ with queueType 'classic' (RABBITMQ_QUEUE_TYPE of pixl); if not, empty and delete it",
  );

  const other = queueName();
  await quorum.declare(other);
  await using classic = await openClassic();
  assertStringIncludes(
    (await assertRejects(() => classic.declare(other), QueueError)).message,
    "open RabbitMQ with queueType 'quorum'",
  );
});

rabbitmqTest("a classic queue gives the most urgent first, and in order among the equally urgent", async () => {
  await using broker = await openClassic();
  const queue = queueName();
  await broker.declare(queue);
  const priorities: (Priority | undefined)[] = [undefined, 1, 3, 5, 2, 4, 5, undefined, 1];
  const published: OutgoingMessage[] = priorities.map((priority, i) => ({
    ...message(`${priority ?? 0}-${i}`),
    ...(priority === undefined ? {} : { priority }),
  }));
  await broker.publish(queue, published);
  await using subscription = await broker.subscribe(queue);
  const seen: [string, Priority | undefined][] = [];
  for (const _ of priorities) {
    const delivery = await take(subscription);
    seen.push([delivery.messageId, delivery.priority]);
    await delivery.acknowledge();
  }
  assertEquals(seen.map(([id]) => id), ["5-3", "5-6", "4-5", "3-2", "2-4", "1-1", "1-8", "0-0", "0-7"]);
  assertEquals(seen.map(([, priority]) => priority), [5, 5, 4, 3, 2, 1, 1, undefined, undefined]);
});

rabbitmqTest("a retried message of a classic queue keeps its priority", async () => {
  await using broker = await openClassic();
  const queue = queueName();
  await broker.declare(queue);
  await broker.publish(queue, [{ ...message("urgent"), priority: 5 }]);
  await using subscription = await broker.subscribe(queue);
  await (await take(subscription)).retry(0);
  const again = await take(subscription);
  assertEquals([again.attempt, again.priority], [2, 5]);
  await again.acknowledge();
});

rabbitmqTest(
  "a message of a classic queue whose consumers vanish becomes a dead letter after maxDeliveries returns",
  async () => {
    await using broker = await openClassic({ maxDeliveries: 2 });
    const queue = queueName();
    await broker.declare(queue);
    await broker.publish(queue, messages(1));
    let taken = 0;
    for (; taken < 3; taken++) {
      await using dying = await openClassic({ maxDeliveries: 2 });
      await using subscription = await dying.subscribe(queue);
      assertEquals((await take(subscription)).attempt, 1);
      // The broker is closed with the message in hand, which RabbitMQ cannot tell from a consumer that died.
    }
    await using subscription = await broker.subscribe(queue);
    const nothing = new AbortController();
    const waiting = subscription.next({ signal: nothing.signal }).catch(() => undefined);
    await depthBecomes(broker, queue, { ready: 0, dead: 1 });
    nothing.abort();
    await waiting;
    await broker.walk(queue, "dead", (batch) => {
      assertEquals(batch[0]?.death?.reason, "its consumers died with it, 3 times");
      return Promise.resolve(["keep"]);
    });
  },
);

rabbitmqTest("what the Python PIXL published to a classic queue is delivered with its priority", async () => {
  await using broker = await openClassic();
  const queue = queueName();
  await broker.declare(queue);
  await withRaw(async (channel) => {
    channel.sendToQueue(queue, Buffer.from("{}"), { persistent: true, priority: 4 });
    await eventually(async () => (await channel.checkQueue(queue)).messageCount === 1, "not published");
  });
  await using subscription = await broker.subscribe(queue);
  const delivery = await take(subscription);
  assertEquals([delivery.messageId, delivery.priority, delivery.attempt, delivery.publishedAt], ["", 4, 1, undefined]);
  assert(!delivery.lost.aborted);
  await delivery.acknowledge();
});
