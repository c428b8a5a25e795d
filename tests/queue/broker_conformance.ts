import {
  assert,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLess,
  assertMatch,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { delay } from "@std/async";
import {
  type Broker,
  type Delivery,
  type KeptMessage,
  type OutgoingMessage,
  type Priority,
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

/** What an implementation says of itself where the contract leaves a choice. */
export interface Abilities {
  /** Whether what is more urgent is taken first, or priorities are only kept. */
  readonly priorities: "strict" | "none";
  /** Whether what a walk keeps stays before what it has not shown. */
  readonly keepsPlaces: boolean;
  /** Whether it shows how old the next message is. */
  readonly ages: boolean;
}

type Case = (broker: Broker, queue: string) => Promise<void>;

const PATIENCE_MS = 15_000;

/**
 * Holds an implementation to the contract in src/queue/broker.ts: registers one test a promise.
 *
 * @param name Stands before each test's name.
 * @param open Connects. Each call makes a new connection to the same server, so that what one broker leaves behind is seen by the next.
 * @param test Registers a test.
 * @param abilities What it can do.
 */
export function brokerConformance(
  name: string,
  open: () => Promise<OpenedBroker>,
  test: (name: string, run: () => Promise<void>) => void,
  abilities: Abilities,
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

  check("publish() does not keep what a slow source has given", async (broker, queue) => {
    const silence = Promise.withResolvers<void>();
    async function* slow() {
      yield* messages(3);
      await silence.promise;
      yield message("last");
    }
    const publishing = broker.publish(queue, slow());
    await depthBecomes(broker, queue, { ready: 3 });
    silence.resolve();
    assertEquals(await publishing, 4);
    await depthBecomes(broker, queue, { ready: 4 });
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

  check(
    "publish() refuses a priority, an attempt or a trace parent that is none, and closes its source",
    async (broker, queue) => {
      const bad: Record<string, unknown>[] = [
        ...[0, 6, 1.5, -1, NaN, "3"].map((priority) => ({ priority })),
        ...[0, -1, 1.5, NaN, Infinity].map((attempt) => ({ attempt })),
        ...[
          "",
          "00",
          TRACE.toUpperCase(),
          TRACE.replace("00-", "01-"),
          `${TRACE}-00`,
          `${TRACE}\n`,
          `00-${"0".repeat(32)}-00f067aa0ba902b7-01`,
          `00-4bf92f3577b34da6a3ce929d0e0e4736-${"0".repeat(16)}-01`,
        ].map((traceparent) => ({ traceparent })),
      ];
      let closed = false;
      function* source(fields: Record<string, unknown>) {
        try {
          yield { ...message("bad"), ...fields };
          yield message("after");
        } finally {
          closed = true;
        }
      }
      for (const fields of bad) {
        closed = false;
        await assertRejects(() => broker.publish(queue, source(fields)), RangeError, Object.keys(fields)[0]);
        assert(closed, `the source was not closed: ${JSON.stringify(fields)}`);
      }
      await staysReady(broker, queue, 0);
    },
  );

  check("publish() with 'retry' stores each message once where nothing fails", async (broker, queue) => {
    assertEquals(await broker.publish(queue, messages(1_500), { retry: true }), 1_500);
    await depthBecomes(broker, queue, { ready: 1_500 });
    await using subscription = await broker.subscribe(queue, { prefetch: 10 });
    for (const id of ids(20)) {
      const delivery = await take(subscription);
      assertEquals(delivery.messageId, id);
      await delivery.acknowledge();
    }
  });

  check("publish() with 'retry' to a queue that is missing rejects all the same", async (broker) => {
    const missing = queueName();
    const options = { retry: true, timeoutMs: 1_000 };
    const error = await assertRejects(() => broker.publish(missing, messages(3), options), PublishError);
    assertEquals([...error.unconfirmed].sort(), ids(3));
  });

  check("next() gives priority, trace, attempt and time as published", async (broker, queue) => {
    const before = Date.now();
    await broker.publish(queue, [{ ...message("an-id"), priority: 4, traceparent: TRACE, attempt: 3 }]);
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    assertEquals([delivery.priority, delivery.traceparent, delivery.attempt], [4, TRACE, 3]);
    assertPublishedSince(delivery, before);
    await delivery.acknowledge();
  });

  check("next() gives no priority and no trace where none was published", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    assertEquals([delivery.priority, delivery.traceparent, delivery.death], [undefined, undefined, undefined]);
    await delivery.acknowledge();
  });

  for (const how of ["release", "requeue", "retry"] as const) {
    check(`${how}() keeps priority, trace and time`, async (broker, queue) => {
      await broker.publish(queue, [{ ...message("an-id"), priority: 2, traceparent: TRACE, attempt: 7 }]);
      await using subscription = await broker.subscribe(queue);
      const first = await take(subscription);
      const { publishedAt } = first;
      await (how === "release" ? first.release() : first[how](50));
      const again = await take(subscription);
      assertEquals([again.messageId, text(again)], ["an-id", '{"n":"an-id"}']);
      assertEquals([again.priority, again.traceparent, again.publishedAt], [2, TRACE, publishedAt]);
      assertEquals(again.attempt, how === "retry" ? 8 : 7);
      await again.acknowledge();
    });
  }

  check("priorities are kept, and obeyed where the broker can", async (broker, queue) => {
    const given: (Priority | undefined)[] = [undefined, 1, 3, 5, 2, 4, 5, undefined, 1];
    await broker.publish(queue, given.map((priority, i) => withPriority(String(i), priority)));
    await depthBecomes(broker, queue, { ready: given.length });
    await using subscription = await broker.subscribe(queue);
    const taken: [string, Priority | undefined][] = [];
    for (let i = 0; i < given.length; i++) {
      const delivery = await take(subscription);
      taken.push([delivery.messageId, delivery.priority]);
      await delivery.acknowledge();
    }
    const wanted = given.map((priority, i) => [String(i), priority] as [string, Priority | undefined]);
    // A stable sort: the order of publication among equals.
    if (abilities.priorities === "strict") wanted.sort(([, a = 0], [, b = 0]) => b - a);
    else for (const all of [wanted, taken]) all.sort(([a], [b]) => Number(a) - Number(b));
    assertEquals(taken, wanted);
  });

  check("what was put back is as urgent as before", async (broker, queue) => {
    await broker.publish(queue, [withPriority("urgent", 5)]);
    await using subscription = await broker.subscribe(queue);
    const urgent = await take(subscription);
    await broker.publish(queue, [withPriority("other", 1)]);
    await depthBecomes(broker, queue, { ready: 1 });
    await urgent.requeue(0);
    await depthBecomes(broker, queue, { ready: 2, delayed: 0 });
    const first = await take(subscription);
    if (abilities.priorities === "strict") assertEquals(first.messageId, "urgent");
    const second = await take(subscription);
    assertEquals([first.messageId, second.messageId].sort(), ["other", "urgent"]);
    await first.acknowledge();
    await second.acknowledge();
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

  check("acknowledge(), many at a time and in any order, is for those messages alone", async (broker, queue) => {
    const count = 200;
    await broker.publish(queue, messages(count));
    await using subscription = await broker.subscribe(queue, { prefetch: count });
    const taken: Delivery[] = [];
    while (taken.length < count) taken.push(await take(subscription));
    const answers: Promise<void>[] = [];
    const kept: Delivery[] = [];
    // The first half goes whole, its second part first; of the other half some stay in hand, from the beginning on.
    for (const part of [mixed(taken.slice(50, 100)), mixed(taken.slice(0, 50))]) {
      for (const delivery of part) answers.push(delivery.acknowledge());
      await delay(0);
      await delay(0);
    }
    for (const [i, delivery] of mixed(taken.slice(100)).entries()) {
      if (i * 31 % 10 < 3) kept.push(delivery);
      else answers.push(delivery.acknowledge());
      if (i % 13 === 0) await delay(0);
    }
    await Promise.all(answers);
    for (const delivery of kept) await delivery.release();
    await subscription[Symbol.asyncDispose]();
    await depthBecomes(broker, queue, { ready: kept.length, dead: 0 });
    const left = (await look(broker, queue, "waiting")).map(({ messageId }) => messageId);
    assertEquals(left.sort(), kept.map(({ messageId }) => messageId).sort());
  });

  for (const first of ["broker", "subscription"] as const) {
    check(`acknowledge() that was begun is carried out when the ${first} is closed`, async (broker, queue) => {
      await broker.publish(queue, messages(20));
      const subscription = await broker.subscribe(queue, { prefetch: 20 });
      const taken: Delivery[] = [];
      while (taken.length < 20) taken.push(await take(subscription));
      if (first === "subscription") await subscription[Symbol.asyncDispose]();
      const answers = taken.map((delivery) => delivery.acknowledge());
      await Promise.all([...answers, broker[Symbol.asyncDispose]()]);
      await withBroker(open, async (second) => await depthBecomes(second, queue, { ready: 0, dead: 0 }));
    });
  }

  check("acknowledge() that was begun when the broker is closed tells whether it happened", async (broker, queue) => {
    await broker.publish(queue, messages(40));
    const subscription = await broker.subscribe(queue, { prefetch: 20 });
    const taken: Delivery[] = [];
    while (taken.length < 20) taken.push(await take(subscription));
    // What follows in the same turn of the event loop, and in the next ones.
    const answers = taken.map(async (delivery, i) => {
      for (let wait = 0; wait < i % 4; wait++) await (wait % 2 === 0 ? Promise.resolve() : delay(0));
      await delivery.acknowledge();
    });
    const [outcomes] = await Promise.all([Promise.allSettled(answers), broker[Symbol.asyncDispose]()]);
    const done = outcomes.filter(({ status }) => status === "fulfilled").length;
    await withBroker(open, async (second) => await depthBecomes(second, queue, { ready: 40 - done, dead: 0 }));
  });

  check("acknowledge() with an effect does both", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    let effects = 0;
    await (await take(subscription)).acknowledge(() => {
      effects += 1;
      return Promise.resolve();
    });
    assertEquals(effects, 1);
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 0 });
  });

  check("acknowledge() whose effect rejects leaves the message in hand", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    const problem = new Error("no ledger");
    assertStrictEquals(await rejection(delivery.acknowledge(() => Promise.reject(problem))), problem);
    assertEquals(delivery.lost.aborted, false);
    await staysReady(broker, queue, 0);
    await delivery.acknowledge(() => Promise.resolve());
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 0 });
  });

  check("a message whose effect rejected can be tried again", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    await rejection(delivery.acknowledge(() => Promise.reject(new Error("no ledger"))));
    await delivery.retry(0);
    const again = await take(subscription);
    assertEquals([again.messageId, again.attempt], ["message-0000", 2]);
    await again.acknowledge();
  });

  check("acknowledge() of a message that was answered before has no effect", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    await delivery.acknowledge();
    let effects = 0;
    const effect = () => Promise.resolve(void (effects += 1));
    await rejectsWith("delivery-lost", () => delivery.acknowledge(effect));
    assertEquals(effects, 0);
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

  check("a dead letter is the message, with reason, error class and time", async (broker, queue) => {
    const before = Date.now();
    await broker.publish(queue, [{ ...message("an-id"), priority: 3, traceparent: TRACE }]);
    await using subscription = await broker.subscribe(queue);
    await (await take(subscription)).retry(0);
    await (await take(subscription)).deadLetter("the handler refused it", "TypeError");
    const [letter, ...others] = await look(broker, queue, "dead");
    assert(letter !== undefined && others.length === 0);
    assertEquals([letter.messageId, text(letter), letter.attempt], ["an-id", '{"n":"an-id"}', 2]);
    assertEquals([letter.priority, letter.traceparent], [3, TRACE]);
    assertPublishedSince(letter, before);
    const { reason, errorClass, at = "" } = letter.death ?? {};
    assertEquals([reason, errorClass], ["the handler refused it", "TypeError"]);
    assertMatch(at, ISO);
    assertLess(Math.abs(Date.parse(at) - Date.now()), 60_000);
  });

  check("a dead letter without an error has no error class", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await using subscription = await broker.subscribe(queue);
    await (await take(subscription)).deadLetter("refused");
    const [letter] = await look(broker, queue, "dead");
    assertEquals([letter?.death?.reason, letter?.death?.errorClass], ["refused", undefined]);
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
    await rejectsWith("closed", () => broker.age(queue));
    await rejectsWith("closed", () => broker.walk(queue, "waiting", keepAll));
  });

  check("every call rejects with the reason of an aborted signal", async (broker, queue) => {
    const reason = new Error("stop");
    const signal = AbortSignal.abort(reason);
    assertStrictEquals(await rejection(broker.declare(queue, { signal })), reason);
    assertStrictEquals(await rejection(broker.publish(queue, messages(1), { signal })), reason);
    assertStrictEquals(await rejection(broker.subscribe(queue, { signal })), reason);
    assertStrictEquals(await rejection(broker.depth(queue, { signal })), reason);
    assertStrictEquals(await rejection(broker.purge(queue, { signal })), reason);
    assertStrictEquals(await rejection(broker.age(queue, { signal })), reason);
    assertStrictEquals(await rejection(broker.walk(queue, "dead", keepAll, { signal })), reason);
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

  check("depth() counts the subscriptions of all brokers", async (broker, queue) => {
    await depthBecomes(broker, queue, { consumers: 0 });
    await withBroker(open, async (second) => {
      await using _one = await broker.subscribe(queue);
      await using _two = await broker.subscribe(queue, { prefetch: 2 });
      {
        await using _three = await second.subscribe(queue);
        for (const from of [broker, second]) await depthBecomes(from, queue, { consumers: 3 });
      }
      await depthBecomes(broker, queue, { consumers: 2 });
    });
    await depthBecomes(broker, queue, { consumers: 0 });
  });

  check("depth() counts no subscription of another queue, nor of a closed broker", async (broker, queue) => {
    await withBroker(open, async (second) => {
      const other = queueName();
      await second.declare(other);
      await second.subscribe(other);
      await second.subscribe(queue);
      await depthBecomes(broker, queue, { consumers: 1 });
    });
    await depthBecomes(broker, queue, { consumers: 0 });
  });

  for (const prefetch of [0, 2]) {
    check(
      `of several 'singleActive' subscriptions one takes messages (prefetch ${prefetch})`,
      async (broker, queue) => {
        await withBroker(open, async (second) => {
          const options = { singleActive: true, prefetch };
          const first = await broker.subscribe(queue, options);
          // Its turn comes before the next asks.
          await broker.publish(queue, [message("first")]);
          await (await take(first)).acknowledge();
          const others = [await broker.subscribe(queue, options), await second.subscribe(queue, options)];
          const controller = new AbortController();
          const waiting = others.map((other) => rejection(other.next({ signal: controller.signal })));
          await broker.publish(queue, messages(30));
          for (let i = 0; i < 30; i++) await (await take(first)).acknowledge();
          const reason = new Error("not its turn");
          controller.abort(reason);
          for (const error of await Promise.all(waiting)) assertStrictEquals(error, reason);
          await first[Symbol.asyncDispose]();

          await second.publish(queue, [message("second")]);
          const next = new AbortController();
          const turn = await Promise.race(others.map((other) => other.next({ signal: next.signal })));
          assertEquals(turn.messageId, "second");
          await turn.acknowledge();
          next.abort(reason);
          for (const other of others) await other[Symbol.asyncDispose]();
        });
      },
    );
  }

  check(
    "the next 'singleActive' subscription begins when the broker of the one before was closed",
    async (broker, queue) => {
      const options = { singleActive: true };
      await withBroker(open, async (second) => {
        const active = await second.subscribe(queue, options);
        await second.publish(queue, messages(3));
        await (await take(active)).acknowledge();
        const held = await take(active);
        await using standby = await broker.subscribe(queue, options);
        const waiting = [take(standby), take(standby)];
        await second[Symbol.asyncDispose]();
        const taken = await Promise.all(waiting);
        assertEquals(taken.map(({ messageId }) => messageId).sort(), [held.messageId, "message-0002"].sort());
        for (const delivery of taken) await delivery.acknowledge();
      });
    },
  );

  check("age() is how long the next message has waited", async (broker, queue) => {
    assertEquals(await broker.age(queue), undefined);
    await broker.publish(queue, messages(1));
    await depthBecomes(broker, queue, { ready: 1 });
    const start = performance.now();
    await delay(300);
    await broker.publish(queue, [message("later")]);
    const age = await broker.age(queue);
    await depthBecomes(broker, queue, { ready: 2 });
    if (!abilities.ages) return assertEquals(age, undefined);
    assert(age !== undefined);
    // Some brokers count in seconds.
    assertGreaterOrEqual(age, Math.floor((performance.now() - start - 50) / 1_000) * 1_000);
    assertLess(age, performance.now() - start + 10_000);
    await depthBecomes(broker, queue, { ready: 2 });
  });

  check("age() does not count what is delayed, in hand or dead", async (broker, queue) => {
    await broker.publish(queue, messages(3));
    await using subscription = await broker.subscribe(queue);
    const held = await take(subscription);
    await (await take(subscription)).retry(60_000);
    await (await take(subscription)).deadLetter("refused");
    await depthBecomes(broker, queue, { ready: 0, delayed: 1, dead: 1 });
    assertEquals(await broker.age(queue), undefined);
    await held.acknowledge();
  });

  check("walk() of nothing visits nobody", async (broker, queue) => {
    for (const place of ["waiting", "dead"] as const) {
      assertEquals(await broker.walk(queue, place, () => Promise.reject(new Error("called"))), 0);
    }
  });

  check("walk() shows each waiting message once, in batches, and keeps it in its place", async (broker, queue) => {
    await broker.publish(queue, [
      { ...message("first"), priority: 1, traceparent: TRACE, attempt: 2 },
      ...messages(24).map((each) => ({ ...each, priority: 1 as const })),
    ]);
    await depthBecomes(broker, queue, { ready: 25 });
    const sizes: number[] = [];
    const seen: KeptMessage[] = [];
    const shown = await broker.walk(queue, "waiting", (batch) => {
      sizes.push(batch.length);
      seen.push(...batch);
      return keepAll(batch);
    }, { batch: 10 });
    assertEquals(shown, 25);
    assert(sizes.every((size) => size >= 1 && size <= 10), `batches of ${sizes}`);
    assertEquals(seen.map(({ messageId }) => messageId), ["first", ...ids(24)]);
    const [first] = seen;
    assert(first !== undefined);
    assertEquals([text(first), first.attempt, first.priority, first.traceparent], ['{"n":"first"}', 2, 1, TRACE]);
    assertMatch(first.publishedAt ?? "", ISO);
    await depthBecomes(broker, queue, { ready: 25, delayed: 0, dead: 0 });
    await using subscription = await broker.subscribe(queue);
    for (const id of ["first", ...ids(24)]) {
      const delivery = await take(subscription);
      assertEquals([delivery.messageId, delivery.attempt], [id, id === "first" ? 2 : 1]);
      await delivery.acknowledge();
    }
  });

  check("walk() shows more than a batch holds", async (broker, queue) => {
    await broker.publish(queue, messages(1_200));
    await depthBecomes(broker, queue, { ready: 1_200 });
    const seen: string[] = [];
    const shown = await broker.walk(queue, "waiting", (batch) => {
      assertLess(batch.length, 501);
      seen.push(...batch.map(({ messageId }) => messageId));
      return keepAll(batch);
    });
    assertEquals([shown, seen.length, new Set(seen).size], [1_200, 1_200, 1_200]);
    await depthBecomes(broker, queue, { ready: 1_200, dead: 0 });
  });

  check("walk() deletes what the visitor says", async (broker, queue) => {
    await broker.publish(queue, messages(7));
    await depthBecomes(broker, queue, { ready: 7 });
    const odd = (batch: readonly KeptMessage[]) =>
      Promise.resolve(batch.map(({ messageId }) => Number(messageId.at(-1)) % 2 ? "delete" as const : "keep" as const));
    assertEquals(await broker.walk(queue, "waiting", odd, { batch: 3 }), 7);
    await depthBecomes(broker, queue, { ready: 4, delayed: 0, dead: 0 });
    const left = await look(broker, queue, "waiting");
    assertEquals(left.map(({ messageId }) => messageId).sort(), ["0", "2", "4", "6"].map((n) => `message-000${n}`));
  });

  check("walk() shows what is delayed, which stays so, and not what is in hand or dead", async (broker, queue) => {
    await broker.publish(queue, messages(5));
    await using subscription = await broker.subscribe(queue);
    const held = await take(subscription);
    await (await take(subscription)).retry(60_000);
    await (await take(subscription)).requeue(30_000);
    await (await take(subscription)).deadLetter("refused");
    await depthBecomes(broker, queue, { ready: 1, delayed: 2, dead: 1 });
    const seen = await look(broker, queue, "waiting");
    assertEquals(
      seen.map(({ messageId, attempt }) => [messageId, attempt]).sort(),
      [["message-0001", 2], ["message-0002", 1], ["message-0004", 1]],
    );
    assert(seen.every(({ death }) => death === undefined));
    await depthBecomes(broker, queue, { ready: 1, delayed: 2, dead: 1 });
    await held.acknowledge();
  });

  check("walk() makes a delayed message ready, as a first attempt", async (broker, queue) => {
    await broker.publish(queue, [{ ...message("an-id"), priority: 3, traceparent: TRACE }]);
    await using subscription = await broker.subscribe(queue);
    await (await take(subscription)).retry(60_000);
    await depthBecomes(broker, queue, { ready: 0, delayed: 1 });
    assertEquals(await broker.walk(queue, "waiting", requeueAll), 1);
    const again = await take(subscription);
    assertEquals([again.messageId, again.attempt, again.priority, again.traceparent], ["an-id", 1, 3, TRACE]);
    await again.acknowledge();
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 0 });
  });

  check("walk() straight after another shows the same, of what waits and of dead letters", async (broker, queue) => {
    const count = 60;
    await broker.publish(queue, messages(count));
    for (let time = 0; time < 4; time++) assertEquals((await look(broker, queue, "waiting")).length, count);
    await using subscription = await broker.subscribe(queue);
    for (let i = 0; i < count; i++) await (await take(subscription)).deadLetter("status 404");
    for (let time = 0; time < 6; time++) assertEquals((await look(broker, queue, "dead")).length, count);
  });

  check("while walk() shows a message nobody else can take it", async (broker, queue) => {
    await broker.publish(queue, messages(2));
    await depthBecomes(broker, queue, { ready: 2 });
    await withBroker(open, async (second) => {
      await using subscription = await second.subscribe(queue);
      const reason = new Error("nothing there");
      const visit = async (batch: readonly KeptMessage[]) => {
        const controller = new AbortController();
        const next = rejection(subscription.next({ signal: controller.signal }));
        await staysReady(second, queue, 0);
        controller.abort(reason);
        assertStrictEquals(await next, reason);
        return await deleteAll(batch);
      };
      assertEquals(await broker.walk(queue, "waiting", visit), 2);
      await depthBecomes(second, queue, { ready: 0, delayed: 0, dead: 0 });
    });
  });

  check("walk() rejects as its visitor does, and keeps what it was shown last", async (broker, queue) => {
    await broker.publish(queue, messages(5));
    await depthBecomes(broker, queue, { ready: 5 });
    const problem = new Error("the disk is full");
    let visits = 0;
    const visit = (batch: readonly KeptMessage[]) => ++visits === 1 ? deleteAll(batch) : Promise.reject(problem);
    assertStrictEquals(await rejection(broker.walk(queue, "waiting", visit, { batch: 2 })), problem);
    await depthBecomes(broker, queue, { ready: 3, delayed: 0, dead: 0 });
    const left = await look(broker, queue, "waiting");
    assertEquals(
      left.map(({ messageId, attempt }) => [messageId, attempt]).sort(),
      ids(5).slice(2).map((id) => [id, 1]),
    );
  });

  check("walk() ends between two batches when its signal aborts", async (broker, queue) => {
    await broker.publish(queue, messages(6));
    await depthBecomes(broker, queue, { ready: 6 });
    const controller = new AbortController();
    const reason = new Error("stop");
    let visits = 0;
    const visit = (batch: readonly KeptMessage[]) => {
      visits += 1;
      controller.abort(reason);
      return deleteAll(batch);
    };
    const options = { batch: 2, signal: controller.signal };
    assertStrictEquals(await rejection(broker.walk(queue, "waiting", visit, options)), reason);
    assertEquals(visits, 1);
    // Whether what the visitor said was still done is not promised.
    await eventually(
      async () => [4, 6].includes((await broker.depth(queue)).ready),
      "what was shown is not back",
    );
  });

  check("walk() any number of times counts no attempt and makes no dead letter", async (broker, queue) => {
    await broker.publish(queue, messages(1));
    await depthBecomes(broker, queue, { ready: 1 });
    for (let i = 0; i < 25; i++) {
      assertEquals((await look(broker, queue, "waiting"))[0]?.attempt, 1);
      await depthBecomes(broker, queue, { ready: 1 });
    }
    await using subscription = await broker.subscribe(queue);
    const delivery = await take(subscription);
    assertEquals([delivery.messageId, delivery.attempt], ["message-0000", 1]);
    await delivery.acknowledge();
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 0 });
  });

  check(
    "walk() shows the dead letters, oldest first, and does with each what the visitor says",
    async (broker, queue) => {
      await broker.publish(queue, messages(4));
      await using subscription = await broker.subscribe(queue);
      const deliveries = [];
      for (let i = 0; i < 4; i++) deliveries.push(await take(subscription));
      for (const delivery of deliveries.reverse()) {
        await delivery.deadLetter(`because ${delivery.messageId}`);
        // The clock of the embedded database knows milliseconds.
        await delay(2);
      }
      await depthBecomes(broker, queue, { ready: 0, dead: 4 });
      const seen: string[] = [];
      const verdicts = ["keep", "delete", "requeue", "keep"] as const;
      const shown = await broker.walk(queue, "dead", (batch) => {
        const from = seen.length;
        for (const { messageId, death } of batch) {
          assertEquals(death?.reason, `because ${messageId}`);
          seen.push(messageId);
        }
        return Promise.resolve(verdicts.slice(from, seen.length));
      }, { batch: 3 });
      assertEquals([shown, seen], [4, ids(4).reverse()]);
      await depthBecomes(broker, queue, { ready: 1, delayed: 0, dead: 2 });
      assertEquals((await take(subscription)).messageId, "message-0001");
      const left = await look(broker, queue, "dead");
      assertEquals(left.map(({ messageId }) => messageId), ["message-0003", "message-0000"]);
    },
  );

  check("a dead letter that is asked for again is a first attempt", async (broker, queue) => {
    await broker.publish(queue, [{ ...message("an-id"), priority: 3, traceparent: TRACE }]);
    await using subscription = await broker.subscribe(queue);
    await (await take(subscription)).retry(0);
    await (await take(subscription)).deadLetter("refused", "Error");
    await depthBecomes(broker, queue, { dead: 1 });
    assertEquals(await broker.walk(queue, "dead", requeueAll), 1);
    const again = await take(subscription);
    assertEquals([again.messageId, text(again), again.attempt], ["an-id", '{"n":"an-id"}', 1]);
    assertEquals([again.priority, again.traceparent, again.death], [3, TRACE, undefined]);
    await again.deadLetter("again");
    const [letter, ...others] = await look(broker, queue, "dead");
    assertEquals([letter?.death?.reason, letter?.death?.errorClass, others.length], ["again", undefined, 0]);
  });

  check("walk() of the dead letters is no business of the waiting", async (broker, queue) => {
    await broker.publish(queue, messages(2));
    await using subscription = await broker.subscribe(queue);
    await (await take(subscription)).deadLetter("refused");
    await depthBecomes(broker, queue, { ready: 1, dead: 1 });
    const visit = async (batch: readonly KeptMessage[]) => {
      const delivery = await take(subscription);
      assertEquals(delivery.messageId, "message-0001");
      await delivery.acknowledge();
      return await deleteAll(batch);
    };
    assertEquals(await broker.walk(queue, "dead", visit), 1);
    await depthBecomes(broker, queue, { ready: 0, delayed: 0, dead: 0 });
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
    await rejectsWith("queue-missing", () => broker.age(missing));
    await rejectsWith("queue-missing", () => broker.walk(missing, "waiting", keepAll));
    await rejectsWith("queue-missing", () => broker.walk(missing, "dead", keepAll));
    const error = await assertRejects(() => broker.publish(missing, messages(3)), PublishError);
    assertEquals([...error.unconfirmed].sort(), ids(3));
    assertEquals(error.confirmed, 0);
    assertInstanceOf(error.cause, QueueError);
    assertEquals(error.cause.code, "queue-missing");
  });
}

const TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$/;

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

/** In an order that looks random and is the same in every run. */
function mixed<T>(items: readonly T[]): T[] {
  return items.map((item, i) => ({ item, at: i * 77 % 101 })).sort((a, b) => a.at - b.at).map(({ item }) => item);
}

function withPriority(messageId: string, priority: Priority | undefined): OutgoingMessage {
  return { ...message(messageId), ...(priority === undefined ? {} : { priority }) };
}

/** Clocks may differ by a minute, and some brokers count in seconds. */
function assertPublishedSince({ publishedAt = "" }: KeptMessage, before: number): void {
  assertMatch(publishedAt, ISO);
  assertGreater(Date.parse(publishedAt), before - 60_000);
  assertLess(Date.parse(publishedAt), Date.now() + 60_000);
}

const keepAll = (batch: readonly KeptMessage[]) => Promise.resolve(batch.map(() => "keep" as const));
const deleteAll = (batch: readonly KeptMessage[]) => Promise.resolve(batch.map(() => "delete" as const));
const requeueAll = (batch: readonly KeptMessage[]) => Promise.resolve(batch.map(() => "requeue" as const));

/** What is there, left as it is. */
async function look(broker: Broker, queue: string, place: "waiting" | "dead"): Promise<KeptMessage[]> {
  const seen: KeptMessage[] = [];
  await broker.walk(queue, place, (batch) => {
    seen.push(...batch);
    return keepAll(batch);
  });
  return seen;
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

function text(delivery: KeptMessage): string {
  return new TextDecoder().decode(delivery.body);
}
