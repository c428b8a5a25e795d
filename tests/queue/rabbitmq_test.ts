import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLess,
  assertMatch,
  assertNotMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { Buffer } from "node:buffer";
import { PublishError, QueueError, RabbitmqBroker } from "@pixl/core/queue";
import { sharedPki } from "../support/pki.ts";
import { freePort } from "../support/ports.ts";
import { testWith } from "../support/programs.ts";
import { sharedRabbitmq, useSharedRabbitmq, withRaw } from "../support/rabbitmq.ts";
import {
  brokerConformance,
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

const rabbitmqTest = (name: string, run: () => Promise<void>) => testWith("rabbitmq", name, run);

for (const queueType of ["quorum", "classic"] as const) {
  brokerConformance(
    `RabbitmqBroker (${queueType})`,
    async () => ({ broker: await RabbitmqBroker.open({ ...await sharedRabbitmq(), queueType }) }),
    rabbitmqTest,
    queueType === "classic"
      ? { priorities: "strict", keepsPlaces: false, ages: false }
      : { priorities: "none", keepsPlaces: true, ages: true },
  );
}

async function openFailure(more: Record<string, unknown>): Promise<QueueError> {
  const { host, port, username, password } = await sharedRabbitmq();
  return await assertRejects(
    async () => {
      await using _broker = await RabbitmqBroker.open({ host, port, username, password, ...more });
    },
    QueueError,
  );
}

rabbitmqTest("RabbitmqBroker.open() takes a user name and a password of any characters", async () => {
  const { username, password } = await sharedRabbitmq();
  assertMatch(username, / /);
  for (const character of "@/:%") assertStringIncludes(password, character);
  await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
  await broker.declare(queueName());
});

rabbitmqTest("RabbitmqBroker.open() tells at once that the login was refused, without the password", async () => {
  const start = performance.now();
  const error = await openFailure({ password: "PWSEED-wrong" });
  assertEquals([error.code, error.kind], ["broker-refused", "refused"]);
  assertStringIncludes(error.message, "check user name and password");
  assertNotMatch(error.message, /PWSEED/);
  assertLess(performance.now() - start, 2_000);
});

rabbitmqTest("RabbitmqBroker.open() names a virtual host that is not there", async () => {
  const error = await openFailure({ vhost: "no/such%20host" });
  assertEquals(error.code, "broker-refused");
  assertStringIncludes(error.message, "virtual host 'no/such%20host'");
});

rabbitmqTest("RabbitmqBroker.open() takes a virtual host of any characters", async () => {
  const server = await sharedRabbitmq();
  const vhost = `a%2Fb/${queueName()}`;
  await server.addVirtualHost(vhost);
  await using broker = await RabbitmqBroker.open({ ...server, vhost });
  await broker.declare(queueName());
});

rabbitmqTest("RabbitmqBroker.open() names the address where nobody listens", async () => {
  const port = freePort();
  const error = await openFailure({ port });
  assertEquals([error.code, error.kind], ["broker-unreachable", "unavailable"]);
  assertStringIncludes(error.message, `127.0.0.1:${port}`);
  assertStringIncludes(error.message, "ECONNREFUSED");
});

rabbitmqTest("RabbitmqBroker.open() names a host that does not exist", async () => {
  const error = await openFailure({ host: "rabbitmq.invalid", port: 5672 });
  assertEquals(error.code, "broker-unreachable");
  assertStringIncludes(error.message, "rabbitmq.invalid:5672");
});

rabbitmqTest("RabbitmqBroker.open() says that there is no TLS at the port", async () => {
  const error = await openFailure({ tls: {} });
  assertEquals(error.code, "broker-refused");
  assertStringIncludes(error.message, "TLS");
});

rabbitmqTest("RabbitmqBroker.open() verifies the certificate and its name", async () => {
  const server = await sharedRabbitmq();
  const { caPem: ca, certPem: cert, keyPem: key } = sharedPki();
  await using proxy = new TcpProxy(server.port, { cert, key });
  const { username, password } = server;
  const queue = queueName();
  for (const host of ["127.0.0.1", "localhost"]) {
    await using broker = await RabbitmqBroker.open({ host, port: proxy.port, username, password, tls: { ca } });
    await broker.declare(queue);
    assertEquals(await broker.publish(queue, messages(1)), 1);
  }
  for (const tls of [{}, { ca, servername: "elsewhere.example" }]) {
    const error = await openFailure({ host: "localhost", port: proxy.port, tls });
    assertEquals([error.code, error.kind], ["broker-refused", "refused"]);
    assertStringIncludes(error.message, "certificate");
  }
});

rabbitmqTest("RabbitmqBroker.open() gives up on a server that says nothing", async () => {
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const error = await openFailure({ port: silent.addr.port, connectTimeoutMs: 200 });
  assertEquals(error.code, "broker-unreachable");
});

rabbitmqTest("RabbitmqBroker.open() ends when its signal aborts", async () => {
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { host, username, password } = await sharedRabbitmq();
  const controller = new AbortController();
  const reason = new Error("stop");
  const opening = rejection(
    RabbitmqBroker.open({ host, port: silent.addr.port, username, password }, { signal: controller.signal }),
  );
  using _accepted = await silent.accept();
  controller.abort(reason);
  assertStrictEquals(await opening, reason);
});

rabbitmqTest("RabbitmqBroker.open() refuses numbers that it cannot use", async () => {
  for (const more of [{ port: 0 }, { heartbeatSeconds: NaN }, { connectTimeoutMs: -1 }, { maxDeliveries: 1.5 }]) {
    const options = { ...await sharedRabbitmq(), ...more };
    const error = await assertRejects(() => RabbitmqBroker.open(options), RangeError);
    assertStringIncludes(error.message, `'${Object.keys(more)[0]}' must be`);
  }
});

rabbitmqTest("RabbitmqBroker.declare() says which queue and argument differ", async () => {
  await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
  const queue = queueName();
  await withRaw((channel) =>
    channel.assertQueue(`${queue}.dead`, { arguments: { "x-queue-type": "quorum", "x-delivery-limit": 7 } })
  );
  const error = await assertRejects(() => broker.declare(queue), QueueError);
  assertEquals([error.code, error.kind], ["queue-mismatch", "configuration"]);
  assertEquals(
    error.message,
    `Queue '${queue}.dead' exists with another 'x-delivery-limit' ('7', not '1000000000'): empty and delete it, or use another name`,
  );
});

rabbitmqTest("RabbitmqBroker.declare() refuses names that RabbitMQ does not take", async () => {
  await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
  for (const queue of ["", "amq.queue", "ü".repeat(121)]) {
    await assertRejects(() => broker.declare(queue), RangeError, "as a queue name");
  }
  await broker.declare(`${queueName()}-`.padEnd(240, "x"));
});

rabbitmqTest("RabbitmqBroker.subscribe() refuses a prefetch that is no number", async () => {
  await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
  await assertRejects(() => broker.subscribe(queueName(), { prefetch: -1 }), RangeError, "prefetch");
});

rabbitmqTest("RabbitmqBroker.publish() lists what was published after the queue was deleted", async () => {
  await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
  const queue = queueName();
  await broker.declare(queue);
  async function* deleteAfterTen() {
    const all = messages(30);
    yield* all.slice(0, 10);
    await depthBecomes(broker, queue, { ready: 10 });
    await withRaw((channel) => channel.deleteQueue(queue));
    yield* all.slice(10);
  }
  const error = await assertRejects(() => broker.publish(queue, deleteAfterTen()), PublishError);
  assertEquals([...error.unconfirmed].sort(), ids(30).slice(10));
  assertEquals(error.confirmed, 10);
});

for (const prefetch of [0, 3]) {
  rabbitmqTest(`RabbitmqSubscription.next() says that the queue was deleted (prefetch ${prefetch})`, async () => {
    await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
    const queue = queueName();
    await broker.declare(queue);
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue, { prefetch });
    const delivery = await take(subscription);
    const waiting = rejectsWith("queue-missing", () => subscription.next());
    await withRaw((channel) => channel.deleteQueue(queue));
    await waiting;
    assertEquals(delivery.lost.aborted, true);
    await rejectsWith("queue-missing", () => subscription.next());

    await broker.declare(queue);
    await broker.publish(queue, [message("new")]);
    const again = await take(subscription);
    assertEquals(again.messageId, "new");
    await again.acknowledge();
  });
}

rabbitmqTest("RabbitmqDelivery.deadLetter() keeps reason, time and attempt with the message", async () => {
  await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
  const queue = queueName();
  await broker.declare(queue);
  await broker.publish(queue, messages(1));
  await using subscription = await broker.subscribe(queue);
  await (await take(subscription)).retry(0);
  await (await take(subscription)).deadLetter("the PACS does not know it");
  const dead = await withRaw((channel) => channel.get(`${queue}.dead`, { noAck: true }));
  assert(dead !== false);
  const { headers = {}, messageId, contentType, deliveryMode } = dead.properties;
  assertEquals([messageId, contentType, deliveryMode], ["message-0000", "application/json", 2]);
  assertEquals([headers["x-pixl-reason"], headers["x-pixl-attempt"]], ["the PACS does not know it", 2]);
  assertMatch(String(headers["x-pixl-dead-at"]), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assertEquals(dead.content.toString(), '{"n":"message-0000"}');
});

rabbitmqTest("RabbitmqDelivery.retry() keeps what others wrote on the message", async () => {
  await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
  const queue = queueName();
  await broker.declare(queue);
  await withRaw(async (channel) => {
    channel.sendToQueue(queue, Buffer.from("{}"), {
      contentType: "text/plain",
      correlationId: "c-1",
      headers: { "x-pixl-attempt": "nonsense", trace: "t-1" },
    });
    await channel.checkQueue(queue);
  });
  await using subscription = await broker.subscribe(queue);
  const delivery = await take(subscription);
  assertEquals([delivery.messageId, delivery.attempt], ["", 1]);
  await delivery.retry(0);
  await depthBecomes(broker, queue, { ready: 1 });
  const copy = await withRaw((channel) => channel.get(queue, { noAck: true }));
  assert(copy !== false);
  assertEquals([copy.properties.contentType, copy.properties.correlationId], ["text/plain", "c-1"]);
  assertEquals([copy.properties.headers?.trace, copy.properties.headers?.["x-pixl-attempt"]], ["t-1", 2]);
});

rabbitmqTest("RabbitmqDelivery.retry() rounds a delay up to the next step, and down to the longest", async () => {
  await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
  const queue = queueName();
  await broker.declare(queue);
  await broker.publish(queue, messages(4));
  await using subscription = await broker.subscribe(queue);
  for (const delayMs of [4_001, 64_000, 64_001, 1e12]) await (await take(subscription)).retry(delayMs);
  await depthBecomes(broker, queue, { delayed: 4 });
  const counts = await withRaw((channel) =>
    Promise.all(
      [4_000, 16_000, 64_000, 256_000].map(async (ms) =>
        (await channel.checkQueue(`${queue}.delay.${ms}`)).messageCount
      ),
    )
  );
  assertEquals(counts, [0, 1, 1, 2]);
});

rabbitmqTest("a message whose consumers vanish becomes a dead letter after maxDeliveries returns", async () => {
  const queue = queueName();
  await using broker = await RabbitmqBroker.open({ ...await sharedRabbitmq(), maxDeliveries: 2 });
  await broker.declare(queue);
  await broker.publish(queue, messages(1));
  for (let i = 0; i < 3; i++) {
    await withRaw(async (channel) => {
      await eventually(async () => await channel.get(queue) !== false, "no message");
    });
  }
  await depthBecomes(broker, queue, { ready: 0, dead: 1 });
});

rabbitmqTest("RabbitmqDelivery stays in hand when its copy is not confirmed", async () => {
  await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
  const queue = queueName();
  await broker.declare(queue);
  await broker.publish(queue, messages(1));
  await withRaw((channel) => channel.deleteQueue(`${queue}.delay.250`));
  await using subscription = await broker.subscribe(queue);
  const delivery = await take(subscription);
  const error = await assertRejects(() => delivery.retry(0), PublishError);
  assertInstanceOf(error.cause, QueueError);
  assertStringIncludes(error.cause.message, `${queue}.delay.250`);
  await delivery.release();
  const again = await take(subscription);
  assertGreaterOrEqual(again.attempt, 1);
  await again.acknowledge();
});
