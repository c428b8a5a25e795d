import { assert, assertEquals, assertInstanceOf, assertLessOrEqual } from "@std/assert";
import { deadline, delay } from "@std/async";
import {
  type Broker,
  consume,
  encodeMessage,
  type OutgoingMessage,
  PublishError,
  RabbitmqBroker,
  type RabbitmqOptions,
} from "@pixl/core/queue";
import { study } from "../../support/scripted_broker.ts";
import { until } from "../../support/until.ts";
import { depthBecomes, queueName } from "../broker_conformance.ts";

/** Messages published before the fault strikes, while it lasts, and after it. */
const BEFORE = 700;
const DURING = 1_000;
const AFTER = 300;
/** While it lasts so many are published at once, every 100 ms. */
const BURST = 50;
/** Two thousand. */
export const ALL = BEFORE + DURING + AFTER;
/** Messages that a consumer has in hand at most: so many come again when its connection is cut. */
export const IN_HAND = 50;
/** All calls of a scenario together; a call that hangs ends here. */
const PATIENCE_MS = 90_000;

/** What happens to a `T` while messages go in and out. */
export interface Fault<T> {
  /** Begins it and ends it. */
  readonly strike: (target: T, scene: Scene) => Promise<void>;
  /** Most messages that may be handled twice, beside those that were published again; with 0 none may go unconfirmed either. */
  readonly repeats: number;
  /**
   * Each message is asked for with a token, as `pixl` does it, and not all are done at once: of ten one is tried again and one put back, and of a hundred
   * one becomes a dead letter.
   */
  readonly paced?: boolean;
}

/** Where it happens. */
export interface Scene {
  /** Under test. */
  readonly broker: Broker;
  /** Its queue. */
  readonly queue: string;
}

/**
 * Publishes 2,000 messages and consumes them at the same time, through a fault: each must be confirmed or listed, handled at least once, and nothing may
 * be left behind.
 *
 * @param options How the broker is opened.
 * @param fault What happens after 700 messages.
 * @param target To what.
 */
export async function survives<T>(options: RabbitmqOptions, fault: Fault<T>, target: T): Promise<void> {
  await using broker = await RabbitmqBroker.open(options);
  await brokerSurvives(broker, fault, target);
}

/** The same for any broker, open. @param broker Under test. @param fault What happens after 700 messages. @param target To what. */
export async function brokerSurvives<T>(broker: Broker, fault: Fault<T>, target: T): Promise<void> {
  const queue = queueName();
  await broker.declare(queue);
  await deadline(run({ broker, queue }, fault, target), PATIENCE_MS);
}

async function run<T>(scene: Scene, { strike, repeats, paced = false }: Fault<T>, target: T): Promise<void> {
  const { broker, queue } = scene;
  const handled = new Map<number, number>();
  const putBack = new Set<number>();
  await using consumer = await consume(broker, queue, async ({ procedure_occurrence_id: id }, { attempt }) => {
    // So that there are messages in hand when it strikes.
    await delay(3);
    if (paced && id % 10 === 3 && attempt === 1) return { kind: "retry", reason: "busy", afterMs: 0 };
    if (paced && id % 10 === 7 && !putBack.has(id)) {
      putBack.add(id);
      return { kind: "requeue", reason: "busy", afterMs: 0 };
    }
    handled.set(id, (handled.get(id) ?? 0) + 1);
    return paced && id % 100 === 50 ? { kind: "discard", reason: "status 404" } : { kind: "done" };
  }, { concurrency: IN_HAND, ...(paced ? { limiter: { take: () => Promise.resolve(), refund: () => {} } } : {}) });

  async function* source(): AsyncGenerator<OutgoingMessage> {
    yield* numbered(0, BEFORE);
    await until("consuming goes on beside publishing", () => handled.size > BEFORE - IN_HAND * 4);
    let over = false;
    const striking = strike(target, scene).finally(() => over = true);
    for (let sent = 0; sent < DURING; sent += BURST) {
      yield* numbered(BEFORE + sent, BURST);
      if (!over) await delay(100);
    }
    await striking;
    yield* numbered(BEFORE + DURING, AFTER);
  }

  const unconfirmed = await publishAll(scene, source());
  await until("every message was handled", () => handled.size === ALL).catch((error) => {
    throw new Error(`${ALL - handled.size} messages are lost`, { cause: error });
  });
  await consumer.idle();
  await depthBecomes(broker, queue, { ready: 0, delayed: 0 });
  const dead = new Set<number>();
  await broker.walk(queue, "dead", (letters) => {
    for (const { messageId } of letters) dead.add(Number(messageId));
    return Promise.resolve(letters.map(() => "delete" as const));
  });
  assertEquals([...dead].sort((a, b) => a - b), paced ? numbersFrom(0, ALL).filter((id) => id % 100 === 50) : []);

  const duplicates = [...handled.values()].reduce((sum, times) => sum + times - 1, 0);
  if (repeats === 0) assertEquals({ unconfirmed, duplicates }, { unconfirmed: 0, duplicates: 0 });
  assertLessOrEqual(duplicates, unconfirmed + repeats);

  assertEquals(await broker.publish(queue, numbered(ALL, 1)), 1);
  await until("a message after it is handled", () => handled.has(ALL));
}

/** Publishes until everything is confirmed. @returns How many had to be published again. */
async function publishAll({ broker, queue }: Scene, source: AsyncIterable<OutgoingMessage>): Promise<number> {
  let left: AsyncIterable<OutgoingMessage> | OutgoingMessage[] = source;
  let expected = ALL;
  let again = 0;
  for (let round = 0; round < 10; round++) {
    const outcome: unknown = await broker.publish(queue, left).catch((error) => error);
    if (typeof outcome === "number") {
      assertEquals(outcome, expected);
      return again;
    }
    assertInstanceOf(outcome, PublishError);
    const { confirmed, unconfirmed } = outcome;
    assertEquals(confirmed + unconfirmed.length, expected);
    assertEquals(new Set(unconfirmed).size, unconfirmed.length);
    left = unconfirmed.flatMap((id) => [...numbered(Number(id), 1)]);
    expected = unconfirmed.length;
    again += expected;
  }
  assert(false, `${expected} messages were refused ten times`);
}

/** Messages whose ids are numbers in turn. @param from The first. @param count How many. */
export function* numbered(from: number, count: number): Generator<OutgoingMessage> {
  for (let id = from; id < from + count; id++) {
    yield { messageId: String(id), body: encodeMessage(study({ procedure_occurrence_id: id })) };
  }
}

/** Numbers in turn. */
export function numbersFrom(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, n) => from + n);
}
