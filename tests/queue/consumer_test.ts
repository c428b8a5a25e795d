import { configure, type LogRecord, reset } from "@logtape/logtape";
import { assertAlmostEquals, assertEquals, assertLess, assertMatch, assertRejects } from "@std/assert";
import { consume, type ConsumeOptions, type Handler, type Outcome, type Subscription } from "@pixl/core/queue";
import { TokenBucket } from "@pixl/core/rate-limiter";
import { ScriptedBroker, study } from "../support/scripted_broker.ts";

const none: ConsumeOptions = { backoff: (attempt) => attempt * 10 };

/** Consumes until the queue is empty and gives what was done with the messages. */
async function run(broker: ScriptedBroker, handler: Handler, options: ConsumeOptions = {}): Promise<string[]> {
  await using consumer = await consume(broker, "pacs", handler, { ...none, ...options });
  await consumer.idle();
  return broker.log;
}

const always = (outcome: Outcome): Handler => () => Promise.resolve(outcome);

Deno.test("consume() acknowledges what the handler has done", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  assertEquals(await run(broker, always({ kind: "done" })), ["done"]);
});

Deno.test("consume() gives the handler the message, its id and the attempt", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const seen: unknown[] = [];
  await run(broker, (message, { attempt, messageId }) => {
    seen.push(message, attempt, messageId.length);
    return Promise.resolve({ kind: "done" });
  });
  assertEquals(seen, [study(), 1, 36]);
});

Deno.test("consume() tries again with growing pauses, then dead-letters with the reason", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const buried: unknown[] = [];
  const log = await run(broker, always({ kind: "retry", reason: "status 500" }), {
    maxAttempts: 3,
    onDeadLetter: (message, reason) => {
      buried.push(message, reason);
      return Promise.resolve();
    },
  });
  assertEquals(log, ["retry 10", "retry 20", "dead: status 500, attempt 3"]);
  assertEquals(buried, [study(), "status 500, attempt 3"]);
});

Deno.test("consume() puts back without counting an attempt", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const attempts: number[] = [];
  const log = await run(broker, (_, { attempt }) => {
    attempts.push(attempt);
    return Promise.resolve(attempts.length < 3 ? { kind: "requeue", reason: "busy", afterMs: 7 } : { kind: "done" });
  });
  assertEquals([attempts, log], [[1, 1, 1], ["requeue 7", "requeue 7", "done"]]);
});

Deno.test("consume() dead-letters at once what the handler discards", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  assertEquals(await run(broker, always({ kind: "discard", reason: "status 404" })), ["dead: status 404"]);
});

Deno.test("consume() takes a throw for a retry and keeps its class, not its text", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const handler: Handler = (message) => Promise.reject(new TypeError(`no such patient ${message.mrn}`));
  assertEquals(await run(broker, handler, { maxAttempts: 1 }), ["dead: TypeError, attempt 1"]);
});

Deno.test("consume() dead-letters a body that is no message and goes on", async () => {
  const broker = new ScriptedBroker();
  broker.add(new TextEncoder().encode('{"mrn": "MRNSEED1"'), study());
  const log = await run(broker, always({ kind: "done" }), { concurrency: 1 });
  assertEquals(log, ["dead: Cannot read the message: it must be JSON in UTF-8", "done"]);
});

Deno.test("consume() has at most `concurrency` messages in hand", async () => {
  const broker = new ScriptedBroker();
  broker.add(...Array.from({ length: 20 }, (_, i) => study({ procedure_occurrence_id: i })));
  let [now, most] = [0, 0];
  await run(broker, async () => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 1));
    now -= 1;
    return { kind: "done" };
  }, { concurrency: 3 });
  assertEquals(most, 3);
});

Deno.test("consume() aborts a handler at its time-out and tries again", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const handler: Handler = (_, { signal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
  const log = await run(broker, handler, { handlerTimeoutMs: 5, maxAttempts: 2 });
  assertEquals(log, ["retry 10", "dead: no answer within 5 ms, attempt 2"]);
});

Deno.test("consume() does not wait for a handler that ignores its time-out", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const log = await run(broker, () => new Promise(() => {}), { handlerTimeoutMs: 5, maxAttempts: 1 });
  assertEquals(log, ["dead: no answer within 5 ms, attempt 1"]);
});

Deno.test("consume() leaves alone what was lost to another consumer", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const handler: Handler = () => {
    broker.lost.abort(new Error("lease taken over"));
    return new Promise(() => {});
  };
  await using consumer = await consume(broker, "pacs", handler);
  while (consumer.stats.returned === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  assertEquals(broker.log, []);
});

Deno.test("consume() does not touch a message again whose consumers died with it too often", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  for (const entry of broker.ready) entry.attempt = 4;
  const log = await run(broker, always({ kind: "done" }), { maxAttempts: 3 });
  assertEquals(log, ["dead: attempt 4 of 3: its consumers died with it, or fewer are allowed than before"]);
});

Deno.test("consume() hands back a message whose answer was not accepted", async () => {
  const broker = new ScriptedBroker();
  broker.refusedRetries = 1;
  broker.add(study());
  const outcomes: Outcome[] = [{ kind: "retry", reason: "status 500" }, { kind: "done" }];
  const log = await run(broker, () => Promise.resolve(outcomes.shift() ?? { kind: "done" }));
  assertEquals(log, ["release", "done"]);
});

Deno.test("consume() takes no message without a token", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const limiter = new TokenBucket({ rate: 0, initial: 0 });
  await using consumer = await consume(broker, "pacs", always({ kind: "done" }), { limiter });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals([broker.ready.length, limiter.waiting], [1, 1]);

  limiter.setRate(1_000);
  await consumer.idle();
  assertEquals(broker.log, ["done"]);
});

Deno.test("Consumer.stop() gives back the token it holds", async () => {
  const broker = new ScriptedBroker();
  const limiter = new TokenBucket({ rate: 1e-9, initial: 1 });
  const consumer = await consume(broker, "pacs", always({ kind: "done" }), { limiter });
  while (limiter.tokens > 0.5) await Promise.resolve();

  await consumer.stop();

  assertAlmostEquals(limiter.tokens, 1);
});

Deno.test("An idle queue banks no more than the bucket's capacity", async () => {
  const broker = new ScriptedBroker();
  const limiter = new TokenBucket({ rate: 1_000, capacity: 2, initial: 2 });
  let handled = 0;
  await using _consumer = await consume(broker, "pacs", () => {
    handled += 1;
    return Promise.resolve({ kind: "done" });
  }, { limiter, concurrency: 10 });
  await new Promise((resolve) => setTimeout(resolve, 60));
  limiter.setRate(1e-9);

  broker.add(...Array.from({ length: 10 }, (_, i) => study({ procedure_occurrence_id: i })));
  await new Promise((resolve) => setTimeout(resolve, 20));

  assertEquals(handled, 2);
});

Deno.test("Consumer.stop() lets what is in hand finish and takes nothing new", async () => {
  const broker = new ScriptedBroker();
  broker.add(study(), study({ procedure_occurrence_id: 5 }));
  const { promise: started, resolve: start } = Promise.withResolvers<void>();
  const { promise: finished, resolve: finish } = Promise.withResolvers<void>();
  const consumer = await consume(broker, "pacs", async () => {
    start();
    await finished;
    return { kind: "done" };
  }, { concurrency: 1 });
  await started;
  const stopped = consumer.stop();
  finish();
  await stopped;
  assertEquals([broker.log, broker.ready.length], [["done"], 1]);
});

Deno.test("Consumer.stop() hands back what does not finish within the grace period", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const { promise: started, resolve: start } = Promise.withResolvers<void>();
  const consumer = await consume(broker, "pacs", () => {
    start();
    return new Promise(() => {});
  });
  await started;
  await consumer.stop({ graceMs: 5 });
  assertEquals(broker.log, ["release"]);
});

Deno.test("consume() puts a message back if its failure cannot be written down", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  let writable = false;
  await using consumer = await consume(broker, "pacs", always({ kind: "discard", reason: "status 404" }), {
    onDeadLetter: () => {
      if (writable) return Promise.resolve();
      writable = true;
      return Promise.reject(new Error("database away"));
    },
  });
  await consumer.idle();
  assertEquals(broker.log, ["requeue 5000", "dead: status 404"]);
});

for (const name of ["concurrency", "maxAttempts"] as const) {
  Deno.test(`consume() refuses a ${name} of 0`, async () => {
    await assertRejects(
      () => consume(new ScriptedBroker(), "pacs", always({ kind: "done" }), { [name]: 0 }),
      RangeError,
      name,
    );
  });
}

Deno.test("Consumer.pause() takes nothing new, holds no token, and lets what is in hand go on", async () => {
  const broker = new ScriptedBroker();
  const limiter = new TokenBucket({ rate: 1e-9, initial: 2 });
  const { promise: finished, resolve: finish } = Promise.withResolvers<void>();
  const { promise: started, resolve: start } = Promise.withResolvers<void>();
  await using consumer = await consume(broker, "pacs", async () => {
    start();
    await finished;
    return { kind: "done" };
  }, { limiter });
  broker.add(study());
  await started;

  consumer.pause();
  consumer.pause();
  broker.add(study({ procedure_occurrence_id: 5 }));
  finish();
  while (consumer.stats.done === 0) await new Promise((resolve) => setTimeout(resolve, 1));

  assertAlmostEquals(limiter.tokens, 1);
  assertEquals([broker.log, broker.ready.length, consumer.stats.paused], [["done"], 1, true]);
});

Deno.test("Consumer.resume() goes on after a pause", async () => {
  const broker = new ScriptedBroker();
  await using consumer = await consume(broker, "pacs", always({ kind: "done" }), none);
  consumer.resume();
  consumer.pause();
  broker.add(study());
  await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals(broker.log, []);
  consumer.resume();
  await consumer.idle();
  assertEquals([broker.log, consumer.stats.paused], [["done"], false]);
});

Deno.test("Consumer.stop() ends a pause, and resume() does not end a stop", async () => {
  const broker = new ScriptedBroker();
  const consumer = await consume(broker, "pacs", always({ kind: "done" }));
  consumer.pause();
  await consumer.stop();
  await consumer.finished;
  broker.add(study());
  consumer.resume();
  await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals([broker.log, consumer.stats.paused], [[], false]);
});

Deno.test("Consumer.stats counts, and keeps the last error without identifiers", async () => {
  const broker = new ScriptedBroker();
  broker.add(study(), study({ procedure_occurrence_id: 5 }));
  let inHand = 0;
  await using consumer = await consume(broker, "pacs", async (message, { attempt }) => {
    await Promise.resolve();
    inHand = consumer.stats.inHand;
    if (message.procedure_occurrence_id === 4) return { kind: "done" };
    if (attempt === 1) throw new TypeError(`no such patient ${message.mrn}`);
    return { kind: "discard", reason: "status 404" };
  }, { ...none, concurrency: 1 });
  assertEquals(consumer.stats.lastError, undefined);
  await consumer.idle();
  const { lastError, perSecond, ...counts } = consumer.stats;
  assertEquals(counts, { done: 1, retried: 1, requeued: 0, dead: 1, returned: 0, inHand: 0, paused: false });
  assertEquals([inHand, lastError?.reason], [1, "status 404"]);
  assertMatch(lastError?.at ?? "", /^\d{4}-\d\d-\d\dT.*Z$/);
  assertEquals(perSecond, 3);
});

Deno.test("consume() keeps the class of the last error with the dead letter", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  await run(broker, () => Promise.reject(new TypeError("no such patient")), { maxAttempts: 2 });
  assertEquals(broker.errorClasses, ["TypeError"]);
});

Deno.test("consume() runs an effect with the acknowledgement", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const effect = () => {
    broker.log.push("effect");
    return Promise.resolve();
  };
  assertEquals(await run(broker, always({ kind: "done", effect })), ["effect", "done"]);
});

Deno.test("consume() tries again when an effect fails, with its class for the dead letter", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const effect = () => Promise.reject(new TypeError("no such patient"));
  assertEquals(await run(broker, always({ kind: "done", effect }), { maxAttempts: 2 }), [
    "retry 10",
    "dead: TypeError, attempt 2",
  ]);
  assertEquals(broker.errorClasses, ["TypeError"]);
});

Deno.test("consume() dead-letters a message of another version, unread", async () => {
  const broker = new ScriptedBroker();
  broker.add(new TextEncoder().encode(JSON.stringify({ ...study(), version: 2 })));
  const log = await run(broker, () => Promise.reject(new Error("was called")));
  assertEquals(log, [
    "dead: Cannot read the message: 'version' must be 1: it was written for another version of PIXL",
  ]);
});

Deno.test("consume() warns of a service that is down once, not for each study", async () => {
  const records: LogRecord[] = [];
  await configure({
    sinks: { kept: (record) => void records.push(record) },
    loggers: [{ category: "pixl", sinks: ["kept"] }, { category: ["logtape", "meta"], sinks: [] }],
  });
  try {
    const broker = new ScriptedBroker();
    broker.add(...Array.from({ length: 5 }, (_, i) => study({ procedure_occurrence_id: i })));
    let failures = 10;
    await run(
      broker,
      () =>
        Promise.resolve(
          failures-- > 0 ? { kind: "retry", reason: `status ${failures >= 5 ? 500 : 502}` } : { kind: "done" },
        ),
    );
  } finally {
    await reset();
  }
  assertEquals(
    records.map(({ level, properties }) => [level, properties.reason]).filter(([level]) => level === "warning"),
    [
      ["warning", "status 500"],
      ["warning", "status 502"],
    ],
  );
  assertEquals(records.length, 10);
});

for (const afterMs of [NaN, -1, Infinity]) {
  Deno.test(`consume() counts an attempt where a handler asks for a pause of ${afterMs}`, async () => {
    const broker = new ScriptedBroker();
    broker.add(study(), study({ procedure_occurrence_id: 5 }));
    const log = await run(
      broker,
      ({ procedure_occurrence_id }) =>
        Promise.resolve({ kind: procedure_occurrence_id === 4 ? "retry" : "requeue", reason: "busy", afterMs }),
      {
        maxAttempts: 2,
        concurrency: 1,
      },
    );
    const dead = "dead: the handler asked for a pause that is none, attempt 2";
    assertEquals(log, ["retry 10", "retry 10", dead, dead]);
  });
}

Deno.test("consume() counts an attempt where a handler gives no outcome", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const handler: Handler = () => Promise.resolve(JSON.parse("null"));
  assertEquals(await run(broker, handler, { maxAttempts: 1 }), ["dead: the handler gave no outcome, attempt 1"]);
});

for (const [what, backoff] of [["throws", () => JSON.parse("{")], ["gives NaN", () => NaN]] as const) {
  Deno.test(`consume() takes a pause of its own where backoff ${what}`, async () => {
    const broker = new ScriptedBroker();
    broker.add(study());
    const log = await run(broker, always({ kind: "retry", reason: "busy" }), { maxAttempts: 2, backoff });
    assertMatch(log[0] ?? "", /^retry \d{3,4}$/);
  });
}

for (const ms of [0, -1, NaN, Infinity, 2 ** 31]) {
  Deno.test(`consume() refuses a handlerTimeoutMs of ${ms}, and stop() a graceMs that is no time`, async () => {
    const broker = new ScriptedBroker();
    await assertRejects(
      () => consume(broker, "pacs", always({ kind: "done" }), { handlerTimeoutMs: ms }),
      RangeError,
      "handlerTimeoutMs",
    );
    if (ms === 0) return;
    await using consumer = await consume(broker, "pacs", always({ kind: "done" }));
    await assertRejects(() => consumer.stop({ graceMs: ms }), RangeError, "graceMs");
  });
}

Deno.test("Consumer.stop() does not wait for an effect that never ends", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const { promise: started, resolve: start } = Promise.withResolvers<void>();
  const effect = () => {
    start();
    return new Promise<void>(() => {});
  };
  const consumer = await consume(broker, "pacs", always({ kind: "done", effect }), { handlerTimeoutMs: 3_000 });
  await started;
  const before = performance.now();
  await consumer.stop({ graceMs: 10 });
  assertLess(performance.now() - before, 2_900);
  // Its time-out ends the effect, and its timer.
  while (broker.log.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  assertMatch(broker.log[0] ?? "", /^retry/);
});

Deno.test("consume() does not end with onOutcome, nor count twice", async () => {
  const broker = new ScriptedBroker();
  broker.add(study(), study({ procedure_occurrence_id: 5 }));
  await using consumer = await consume(broker, "pacs", always({ kind: "done" }), {
    onOutcome: () => {
      throw new Error("screen is gone");
    },
  });
  await consumer.idle();
  assertEquals([consumer.stats.done, consumer.stats.returned], [2, 0]);
});

Deno.test("consume() goes on when a message is lost that waits for its second token", async () => {
  const broker = new ScriptedBroker();
  const limiter = new TokenBucket({ rate: 1e-9, capacity: 1, initial: 1 });
  let handled = 0;
  await using consumer = await consume(broker, "pacs", () => {
    handled += 1;
    return Promise.resolve({ kind: "done" });
  }, { limiter });
  // Idle for so long that its token is given back when the message comes: somebody else takes that.
  await new Promise((resolve) => setTimeout(resolve, 80));
  const refund = limiter.refund.bind(limiter);
  limiter.refund = (n) => {
    refund(n);
    limiter.tryTake();
  };
  broker.add(study());
  while (limiter.waiting === 0) await new Promise((resolve) => setTimeout(resolve, 1));

  broker.lost.abort(new Error("lease taken over"));

  await new Promise((resolve) => setTimeout(resolve, 5));
  limiter.refund = refund;
  consumer.pause();
  consumer.resume();
  limiter.setRate(1_000);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals(handled, 0);
  assertEquals(await Promise.race([consumer.finished.then(() => "ended"), Promise.resolve("runs")]), "runs");
});

Deno.test("Consumer.idle() rejects when the consumer is stopped, whatever its own signal", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const limiter = new TokenBucket({ rate: 0, initial: 0 });
  const consumer = await consume(broker, "pacs", always({ kind: "done" }), { limiter });
  const waiting = assertRejects(() => consumer.idle({ signal: new AbortController().signal }), DOMException, "stopped");
  await consumer.stop();
  await waiting;
});

Deno.test("Consumer.idle() waits for the end of a pause", async () => {
  const broker = new ScriptedBroker();
  await using consumer = await consume(broker, "pacs", always({ kind: "done" }));
  consumer.pause();
  let idle = false;
  const waiting = consumer.idle().then(() => idle = true);
  await new Promise((resolve) => setTimeout(resolve, 160));
  assertEquals(idle, false);
  consumer.resume();
  await waiting;
});

Deno.test("consume() leaves nothing behind when the queue failed for good and nobody stops it", async () => {
  const broker = new ScriptedBroker();
  broker.add(study());
  const subscription = await broker.subscribe();
  const next: Subscription["next"] = (options) =>
    broker.ready.length > 0 ? subscription.next(options) : Promise.reject(new Error("deleted"));
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  const asyncDispose = () => Promise.resolve(close());
  broker.subscribe = () => Promise.resolve({ ...subscription, next, [Symbol.asyncDispose]: asyncDispose });
  const { promise: working, resolve: finish } = Promise.withResolvers<void>();
  const consumer = await consume(broker, "pacs", async () => {
    await working;
    return { kind: "done" };
  });
  await assertRejects(() => consumer.finished, Error, "deleted");
  const ended = await Promise.race([closed.then(() => "closed"), new Promise((resolve) => setTimeout(resolve, 20))]);
  assertEquals(ended, undefined); // not before what is in hand was answered
  finish();
  await closed; // what was sent ahead is for others
  while (consumer.stats.done === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  await new Promise((resolve) => setTimeout(resolve, 1));
  // The sanitizers look for a timer.
});
