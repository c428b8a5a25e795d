import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { delay } from "@std/async";
import {
  type Broker,
  type Delivery,
  type OutgoingMessage,
  PublishError,
  type QueueDepth,
  QueueError,
  type QueueErrorCode,
  type Subscription,
} from "@pixl/core/queue";

/** A broker under test and what must be closed after it. */
export interface OpenedBroker extends Partial<AsyncDisposable> {
  /** Connected; the suite closes it. */
  readonly broker: Broker;
}

type Case = (broker: Broker, queue: string) => Promise<void>;

const PATIENCE_MS = 15_000;

/**
 * Holds an implementation to the contract in src/queue/broker.ts: registers one test a promise.
 *
 * @param name Stands before each test's name.
 * @param open Connects. Each call makes a new connection to the same server, so that what one broker leaves behind is seen by the next.
 */
export function brokerConformance(
  name: string,
  open: () => Promise<OpenedBroker>,
  test: (name: string, run: () => Promise<void>) => void = Deno.test,
): void {
  const check = (title: string, run: Case) =>
    test(`${name}: ${title}`, async () => {
      await withBroker(open, async (broker) => {
        const queue = queueName();
        await broker.declare(queue);
        await run(broker, queue);
      });
    });

  check("declare() twice keeps the messages", async (broker, queue) => {
    await broker.publish(queue, messages(2));
    await broker.declare(queue);
    await depthBecomes(broker, queue, { ready: 2 });
  });

  check("publish() takes an array and counts", async (broker, queue) => {
    assertEquals(await broker.publish(queue, messages(3)), 3);
    await depthBecomes(broker, queue, { ready: 3, delayed: 0, dead: 0 });
  });

  check("publish() takes a generator", async (broker, queue) => {
    function* generate() {
      yield* messages(4);
    }
    assertEquals(await broker.publish(queue, generate()), 4);
    await depthBecomes(broker, queue, { ready: 4 });
  });

  check("publish() takes an asynchronous generator", async (broker, queue) => {
    async function* generate() {
      for (const message of messages(5)) {
        await Promise.resolve();
        yield message;
      }
    }
    assertEquals(await broker.publish(queue, generate()), 5);
    await depthBecomes(broker, queue, { ready: 5 });
  });

  check("publish() of nothing is 0", async (broker, queue) => {
    assertEquals(await broker.publish(queue, []), 0);
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 0 });
  });

  check("publish() takes more messages than fit in one batch", async (broker, queue) => {
    assertEquals(await broker.publish(queue, messages(3_000)), 3_000);
    await depthBecomes(broker, queue, { ready: 3_000 });
  });

  check("publish() may run several times at once", async (broker, queue) => {
    const counts = await Promise.all([1, 20, 300].map((count) => broker.publish(queue, messages(count))));
    assertEquals(counts, [1, 20, 300]);
    await depthBecomes(broker, queue, { ready: 321 });
  });

  check("publish() rejects with the error of its source", async (broker, queue) => {
    const problem = new Error("source is broken");
    function* generate() {
      yield* messages(2);
      throw problem;
    }
    assertStrictEquals(await rejection(broker.publish(queue, generate())), problem);
  });

  check("publish() ends when its signal aborts, and closes its source", async (broker, queue) => {
    const controller = new AbortController();
    const reason = new Error("stop");
    let closed = false;
    async function* endless() {
      try {
        for (let i = 0;; i++) {
          if (i === 50) controller.abort(reason);
          yield message(`endless-${i}`);
          await Promise.resolve();
        }
      } finally {
        closed = true;
      }
    }
    assertStrictEquals(await rejection(broker.publish(queue, endless(), { signal: controller.signal })), reason);
    await eventually(() => Promise.resolve(closed), "the source was not closed");
  });

  check("publish() ends when its signal aborts while the source is silent", async (broker, queue) => {
    const controller = new AbortController();
    const reason = new Error("stop");
    const silence = Promise.withResolvers<void>();
    async function* silent() {
      yield message("only-one");
      queueMicrotask(() => controller.abort(reason));
      await silence.promise;
    }
    assertStrictEquals(await rejection(broker.publish(queue, silent(), { signal: controller.signal })), reason);
    silence.resolve();
  });

  check("next() gives id, body and attempt", async (broker, queue) => {
    await broker.publish(queue, [{ messageId: "an-id", body: bytes('{"a":"ü"}') }]);
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    assertEquals(delivery.messageId, "an-id");
    assertEquals(text(delivery), '{"a":"ü"}');
    assertEquals(delivery.attempt, 1);
    assertEquals(delivery.lost.aborted, false);
    await delivery.acknowledge();
  });

  check("a message without an id keeps none", async (broker, queue) => {
    await broker.publish(queue, [message("")]);
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    assertEquals(delivery.messageId, "");
    await delivery.acknowledge();
  });

  check("bodies of any bytes survive", async (broker, queue) => {
    const bodies = [
      new Uint8Array(0),
      Uint8Array.from({ length: 256 }, (_, i) => i),
      new Uint8Array([0xff, 0xfe, 0x00, 0xc3, 0x28]),
      Uint8Array.from({ length: 700_001 }, (_, i) => i % 251),
      new Uint8Array(new Uint8Array([9, 8, 7, 6, 5]).buffer, 1, 3),
    ];
    await broker.publish(queue, bodies.map((body, i) => ({ messageId: String(i), body })));
    await using subscription = await broker.subscribe(queue);
    for (const body of bodies) {
      const delivery = await take(subscription);
      assertEquals(delivery.body.length, body.length);
      assert(delivery.body.every((byte, i) => byte === body[i]), `body ${delivery.messageId} changed`);
      await delivery.acknowledge();
    }
  });

  check("next() waits for a later message", async (broker, queue) => {
    await using subscription = await broker.subscribe(queue);
    const waiting = take(subscription);
    await depthBecomes(broker, queue, { ready: 0 });
    await broker.publish(queue, [message("late")]);
    const delivery = await waiting;
    assertEquals(delivery.messageId, "late");
    await delivery.acknowledge();
  });

  check("next() several times at once gives different messages", async (broker, queue) => {
    await using subscription = await broker.subscribe(queue);
    const waiting = Array.from({ length: 5 }, () => take(subscription));
    await broker.publish(queue, messages(5));
    const deliveries = await Promise.all(waiting);
    assertEquals(deliveries.map((delivery) => delivery.messageId).sort(), ids(5));
    await Promise.all(deliveries.map((delivery) => delivery.acknowledge()));
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 0 });
  });

  check("next() rejects with the signal's reason and takes nothing", async (broker, queue) => {
    await using subscription = await broker.subscribe(queue);
    const controllers = Array.from({ length: 3 }, () => new AbortController());
    const reason = new Error("no token");
    const waiting = controllers.map(({ signal }) => rejection(subscription.next({ signal })));
    for (const controller of controllers) controller.abort(reason);
    for (const error of await Promise.all(waiting)) assertStrictEquals(error, reason);

    await broker.publish(queue, messages(1));
    await staysReady(broker, queue, 1);
  });

  check("next() with an aborted signal takes nothing", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    const reason = new Error("no token");
    assertStrictEquals(await rejection(subscription.next({ signal: AbortSignal.abort(reason) })), reason);
    await staysReady(broker, queue, 1);
  });

  check("next() aborted at any moment neither loses nor keeps a message", async (broker, queue) => {
    await broker.publish(queue, messages(20));
    await using subscription = await broker.subscribe(queue);
    const taken = new Set<string>();
    for (let round = 0; round < 60; round++) {
      const controller = new AbortController();
      const next = subscription.next({ signal: controller.signal });
      if (round % 3 === 0) await Promise.resolve();
      if (round % 3 === 1) await delay(round % 7);
      controller.abort(new Error("no token"));
      const delivery = await next.catch(() => undefined);
      if (delivery === undefined) continue;
      taken.add(delivery.messageId);
      await delivery.acknowledge();
    }
    await depthBecomes(broker, queue, { ready: 20 - taken.size, dead: 0 });
    for (let left = 20 - taken.size; left > 0; left--) {
      const delivery = await take(subscription);
      taken.add(delivery.messageId);
      await delivery.acknowledge();
    }
    assertEquals([...taken].sort(), ids(20));
  });

  check("with prefetch 0 nothing leaves the queue before next()", async (broker, queue) => {
    await broker.publish(queue, messages(3));
    await using subscription = await broker.subscribe(queue, { prefetch: 0 });
    await staysReady(broker, queue, 3);
    const delivery = await take(subscription);
    await staysReady(broker, queue, 2);
    await delivery.acknowledge();
  });

  check("with prefetch messages come in order", async (broker, queue) => {
    await broker.publish(queue, messages(200));
    await using subscription = await broker.subscribe(queue, { prefetch: 10 });
    for (const id of ids(200)) {
      const delivery = await take(subscription);
      assertEquals(delivery.messageId, id);
      await delivery.acknowledge();
    }
    await depthBecomes(broker, queue, { ready: 0 });
  });

  check("without prefetch messages come in order", async (broker, queue) => {
    await broker.publish(queue, messages(100));
    await using subscription = await broker.subscribe(queue);
    for (const id of ids(100)) {
      const delivery = await take(subscription);
      assertEquals(delivery.messageId, id);
      await delivery.acknowledge();
    }
  });

  check("acknowledge() removes the message for good", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    {
      await using subscription = await broker.subscribe(queue);
      await (await take(subscription)).acknowledge();
    }
    await withBroker(open, async (second) => {
      await depthBecomes(second, queue, { ready: 0, delayed: 0, dead: 0 });
    });
  });

  check("release() gives it back at once, not counted", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    await (await take(subscription)).release();
    const again = await take(subscription);
    assertEquals([again.messageId, again.attempt], ["message-0000", 1]);
    await again.acknowledge();
  });

  check("release() any number of times never makes a dead letter", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    for (let i = 0; i < 50; i++) await (await take(subscription)).release();
    const again = await take(subscription);
    assertEquals([again.messageId, again.attempt, text(again)], ["message-0000", 1, '{"n":"message-0000"}']);
    await again.acknowledge();
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 0 });
  });

  check("retry() delays and counts", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    for (const attempt of [1, 2]) {
      const delivery = await take(subscription);
      assertEquals(delivery.attempt, attempt);
      const start = performance.now();
      await delivery.retry(200);
      const again = await take(subscription);
      assertGreaterOrEqual(performance.now() - start, 195);
      assertEquals([again.messageId, again.attempt, text(again)], [
        "message-0000",
        attempt + 1,
        '{"n":"message-0000"}',
      ]);
      if (attempt === 1) await again.release();
      else await again.acknowledge();
    }
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 0 });
  });

  check("requeue() delays and does not count", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    const start = performance.now();
    await delivery.requeue(200);
    const again = await take(subscription);
    assertGreaterOrEqual(performance.now() - start, 195);
    assertEquals([again.messageId, again.attempt, text(again)], ["message-0000", 1, '{"n":"message-0000"}']);
    await again.acknowledge();
  });

  check("a long delay does not hold up a short one", async (broker, queue) => {
    await broker.publish(queue, messages(2));
    await using subscription = await broker.subscribe(queue);
    const [slow, quick] = [await take(subscription), await take(subscription)];
    await slow.retry(60_000);
    await quick.retry(100);
    const again = await take(subscription);
    assertEquals([again.messageId, again.attempt], [quick.messageId, 2]);
    await again.acknowledge();
    await depthBecomes(broker, queue, { ready: 0, delayed: 1 });
  });

  check("retry(0) brings it back soon", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    await (await take(subscription)).retry(0);
    const again = await take(subscription);
    assertEquals(again.attempt, 2);
    await again.acknowledge();
  });

  check("retry() and requeue() refuse a delay that is no time", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    for (const delayMs of [-1, NaN, Infinity]) {
      await assertRejects(() => delivery.retry(delayMs), RangeError);
      await assertRejects(() => delivery.requeue(delayMs), RangeError);
    }
    await delivery.acknowledge();
    await depthBecomes(broker, queue, { ready: 0, delayed: 0 });
  });

  check("deadLetter() moves the message", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    await (await take(subscription)).deadLetter("the handler refused it");
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 1 });
  });

  check("deadLetter() takes any reason", async (broker, queue) => {
    const reasons = ["", "Grüße 🙂\n\u0000", "x".repeat(300_000)];
    await broker.publish(queue, messages(reasons.length));
    await using subscription = await broker.subscribe(queue);
    for (const reason of reasons) await (await take(subscription)).deadLetter(reason);
    await depthBecomes(broker, queue, { ready: 0, dead: reasons.length });
  });

  check("a delivery is answered once", async (broker, queue) => {
    await broker.publish(queue, messages(2));
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    await delivery.acknowledge();
    await rejectsWith("delivery-lost", () => delivery.acknowledge());
    await rejectsWith("delivery-lost", () => delivery.release());
    await rejectsWith("delivery-lost", () => delivery.retry(0));
    await rejectsWith("delivery-lost", () => delivery.requeue(0));
    await rejectsWith("delivery-lost", () => delivery.deadLetter("again"));
    const other = await take(subscription);
    assertEquals(other.messageId, "message-0001");
    await other.acknowledge();
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 0 });
  });

  check("closing a subscription hands back what was sent ahead", async (broker, queue) => {
    await broker.publish(queue, messages(5));
    {
      await using subscription = await broker.subscribe(queue, { prefetch: 5 });
      await (await take(subscription)).acknowledge();
    }
    await depthBecomes(broker, queue, { ready: 4, delayed: 0, dead: 0 });
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    assertEquals(delivery.attempt, 1);
    await delivery.acknowledge();
  });

  for (const prefetch of [0, 3]) {
    check(`closing a subscription leaves what is in hand (prefetch ${prefetch})`, async (broker, queue) => {
      await broker.publish(queue, messages(3));
      const subscription = await broker.subscribe(queue, { prefetch });
      const [first, second] = [await take(subscription), await take(subscription)];
      await subscription[Symbol.asyncDispose]();
      await depthBecomes(broker, queue, { ready: 1 });
      assertEquals(first.lost.aborted, false);
      await first.acknowledge();
      await second.retry(100);
      await depthBecomes(broker, queue, { ready: 2, delayed: 0 });
    });

    check(`closing a subscription ends next() (prefetch ${prefetch})`, async (broker, queue) => {
      const subscription = await broker.subscribe(queue, { prefetch });
      const waiting = rejectsWith("closed", () => subscription.next());
      await subscription[Symbol.asyncDispose]();
      await waiting;
      await rejectsWith("closed", () => subscription.next());
      await subscription[Symbol.asyncDispose]();
      await broker.publish(queue, messages(1));
      await staysReady(broker, queue, 1);
    });

    check(`closing the broker hands back what is in hand (prefetch ${prefetch})`, async (broker, queue) => {
      await broker.publish(queue, messages(3));
      const subscription = await broker.subscribe(queue, { prefetch });
      const delivery = await take(subscription);
      await take(subscription);
      await broker[Symbol.asyncDispose]();
      assertEquals(delivery.lost.aborted, true);
      await rejectsWith("delivery-lost", () => delivery.acknowledge());
      await withBroker(open, (second) => depthBecomes(second, queue, { ready: 3, delayed: 0, dead: 0 }));
    });
  }

  check("closing the broker ends next()", async (broker, queue) => {
    const subscription = await broker.subscribe(queue);
    const waiting = rejectsWith("closed", () => subscription.next());
    await broker[Symbol.asyncDispose]();
    await waiting;
    await rejectsWith("closed", () => subscription.next());
    await subscription[Symbol.asyncDispose]();
  });

  check("a closed broker refuses everything", async (broker, queue) => {
    await broker[Symbol.asyncDispose]();
    await broker[Symbol.asyncDispose]();
    await rejectsWith("closed", () => broker.declare(queue));
    await rejectsWith("closed", () => broker.publish(queue, messages(1)));
    await rejectsWith("closed", () => broker.subscribe(queue));
    await rejectsWith("closed", () => broker.depth(queue));
    await rejectsWith("closed", () => broker.purge(queue));
  });

  check("every call rejects with the reason of an aborted signal", async (broker, queue) => {
    const reason = new Error("stop");
    const signal = AbortSignal.abort(reason);
    assertStrictEquals(await rejection(broker.declare(queue, { signal })), reason);
    assertStrictEquals(await rejection(broker.publish(queue, messages(1), { signal })), reason);
    assertStrictEquals(await rejection(broker.subscribe(queue, { signal })), reason);
    assertStrictEquals(await rejection(broker.depth(queue, { signal })), reason);
    assertStrictEquals(await rejection(broker.purge(queue, { signal })), reason);
    await staysReady(broker, queue, 0);
  });

  check("depth() counts each state", async (broker, queue) => {
    await broker.publish(queue, messages(6));
    await using subscription = await broker.subscribe(queue);
    const held = await take(subscription);
    await (await take(subscription)).retry(60_000);
    await (await take(subscription)).requeue(60_000);
    await (await take(subscription)).deadLetter("refused");
    await (await take(subscription)).acknowledge();
    await depthBecomes(broker, queue, { ready: 1, delayed: 2, dead: 1 });
    const { inHand } = await broker.depth(queue);
    assert(inHand === undefined || inHand === 1, `in hand: ${inHand}`);
    await held.acknowledge();
  });

  check("purge() deletes what waits, not what is in hand or dead", async (broker, queue) => {
    await broker.publish(queue, messages(6));
    await using subscription = await broker.subscribe(queue);
    const held = await take(subscription);
    await (await take(subscription)).retry(60_000);
    await (await take(subscription)).deadLetter("refused");
    await depthBecomes(broker, queue, { ready: 3, delayed: 1, dead: 1 });
    assertEquals(await broker.purge(queue), 4);
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 1 });
    await held.release();
    const again = await take(subscription);
    assertEquals(again.messageId, held.messageId);
    await again.acknowledge();
  });

  check("1,000 messages reach 8 workers once each", async (broker, queue) => {
    await broker.publish(queue, messages(1_000));
    await using subscription = await broker.subscribe(queue);
    const seen: string[] = [];
    await Promise.all(Array.from({ length: 8 }, async () => {
      while (seen.length < 1_000) {
        const controller = new AbortController();
        const timer = setTimeout(() => controller.abort(new Error("no more")), 1_000);
        const delivery = await subscription.next({ signal: controller.signal }).catch(() => undefined);
        clearTimeout(timer);
        if (delivery === undefined) break;
        seen.push(delivery.messageId);
        await delivery.acknowledge();
      }
    }));
    assertEquals(seen.sort(), ids(1_000));
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 0 });
  });

  check("two brokers share a queue", async (broker, queue) => {
    await withBroker(open, async (second) => {
      await broker.publish(queue, messages(100));
      const seen: string[] = [];
      const work = async (from: Broker) => {
        await using subscription = await from.subscribe(queue, { prefetch: 5 });
        for (let i = 0; i < 50; i++) {
          const delivery = await take(subscription);
          seen.push(delivery.messageId);
          await delivery.acknowledge();
        }
      };
      await Promise.all([work(broker), work(second)]);
      assertEquals(seen.sort(), ids(100));
    });
  });

  check("queues do not mix", async (broker, queue) => {
    const other = queueName();
    await broker.declare(other);
    await broker.publish(queue, [message("one")]);
    await broker.publish(other, [message("two")]);
    await using subscription = await broker.subscribe(other);
    const delivery = await take(subscription);
    assertEquals(delivery.messageId, "two");
    await delivery.retry(60_000);
    await depthBecomes(broker, queue, { ready: 1, delayed: 0 });
    assertEquals(await broker.purge(other), 1);
    await depthBecomes(broker, queue, { ready: 1 });
  });

  check("a queue may have an unusual name", async (broker) => {
    for (const prefix of ["imaging-primary", "Ümlaut ' \" % / \\ $1", "a.delay.b"]) {
      const queue = `${prefix}-${queueName()}`;
      await broker.declare(queue);
      assertEquals(await broker.publish(queue, messages(1)), 1);
      await using subscription = await broker.subscribe(queue);
      await (await take(subscription)).retry(0);
      await (await take(subscription)).deadLetter("refused");
      await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 1 });
    }
  });

  check("a queue that was not declared is missing", async (broker) => {
    const missing = queueName();
    await rejectsWith("queue-missing", () => broker.subscribe(missing));
    await rejectsWith("queue-missing", () => broker.subscribe(missing, { prefetch: 2 }));
    await rejectsWith("queue-missing", () => broker.depth(missing));
    await rejectsWith("queue-missing", () => broker.purge(missing));
    const error = await assertRejects(() => broker.publish(missing, messages(3)), PublishError);
    assertEquals([...error.unconfirmed].sort(), ids(3));
    assertEquals(error.confirmed, 0);
    assertInstanceOf(error.cause, QueueError);
    assertEquals(error.cause.code, "queue-missing");
  });
}

/** A name that no other test uses. */
export function queueName(): string {
  return `test-${crypto.randomUUID().slice(0, 13)}`;
}

/** A message whose body is JSON with its id. */
export function message(messageId: string): OutgoingMessage {
  return { messageId, body: bytes(JSON.stringify({ n: messageId })) };
}

/** So many ids, in order: `message-0000`, … */
export function ids(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `message-${String(i).padStart(4, "0")}`);
}

/** So many messages with {@linkcode ids}. */
export function messages(count: number): OutgoingMessage[] {
  return ids(count).map(message);
}

/** The next message, or a failure that says so: no test hangs. */
export async function take(subscription: Subscription): Promise<Delivery> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new Error(`No message after ${PATIENCE_MS} ms`)), PATIENCE_MS);
  try {
    return await subscription.next({ signal: controller.signal });
  } finally {
    clearTimeout(timer);
  }
}

/** Polls until the counts that are given are reached. */
export async function depthBecomes(broker: Broker, queue: string, wanted: Partial<QueueDepth>): Promise<void> {
  let last: QueueDepth | undefined;
  await eventually(
    async () => {
      const depth = last = await broker.depth(queue);
      return (Object.keys(wanted) as (keyof QueueDepth)[]).every((key) => depth[key] === wanted[key]);
    },
    () => `depth is ${JSON.stringify(last)}, not ${JSON.stringify(wanted)}`,
  );
}

/** Polls until true. */
export async function eventually(condition: () => Promise<boolean>, problem: string | (() => string)): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!await condition()) {
    if (performance.now() > end) throw new Error(typeof problem === "string" ? problem : problem());
    await delay(20);
  }
}

/** Checks the error's class and code. */
export async function rejectsWith(code: QueueErrorCode, run: () => Promise<unknown>): Promise<void> {
  const error = await assertRejects(run, QueueError);
  assertEquals(error.code, code);
}

/** What the promise rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("The promise did not reject");
}

/** Nothing takes a message for a while: the one case in which only time can tell. */
async function staysReady(broker: Broker, queue: string, ready: number): Promise<void> {
  await depthBecomes(broker, queue, { ready });
  for (let i = 0; i < 5; i++) {
    await delay(60);
    assertEquals((await broker.depth(queue)).ready, ready);
  }
}

async function withBroker(open: () => Promise<OpenedBroker>, run: (broker: Broker) => Promise<void>): Promise<void> {
  const opened = await open();
  try {
    await using broker = opened.broker;
    await run(broker);
  } finally {
    await opened[Symbol.asyncDispose]?.();
  }
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function text(delivery: Delivery): string {
  return new TextDecoder().decode(delivery.body);
}
