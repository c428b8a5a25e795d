import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import {
  type Broker,
  type DeadLetterSelection,
  dropDeadLetters,
  type KeptMessage,
  listDeadLetters,
  retryDeadLetters,
  type WalkOptions,
} from "@pixl/core/queue";
import { depthBecomes, ids, messages, rejection, rejectsWith, take } from "./broker_conformance.ts";
import { idsOf, onEachBroker } from "./each_broker.ts";

/** Makes dead letters: every third for another reason. */
async function bury(broker: Broker, queue: string, count: number): Promise<void> {
  await broker.publish(queue, messages(count));
  await using subscription = await broker.subscribe(queue, { prefetch: 50 });
  for (let i = 0; i < count; i++) {
    const delivery = await take(subscription);
    await (i % 3 === 0
      ? delivery.deadLetter("status 404")
      : delivery.deadLetter("status 500, attempt 10", "TypeError"));
  }
  await depthBecomes(broker, queue, { ready: 0, dead: count });
}

async function listed(
  broker: Broker,
  queue: string,
  ...more: [DeadLetterSelection?, WalkOptions?]
): Promise<KeptMessage[]> {
  const { dead } = await broker.depth(queue);
  const letters = await Array.fromAsync(listDeadLetters(broker, queue, ...more));
  // RabbitMQ puts back what was shown a moment later.
  await depthBecomes(broker, queue, { dead });
  return letters;
}

const idOf = ({ messageId }: KeptMessage) => messageId;

onEachBroker(({ test }) => {
  test("listDeadLetters() gives them oldest first with their reasons, and leaves them", async (broker, queue) => {
    await bury(broker, queue, 7);

    const letters = await listed(broker, queue, { all: true }, { batch: 2 });

    assertEquals(letters.map(idOf), ids(7));
    assertEquals(letters.slice(0, 2).map(({ death, attempt }) => [death?.reason, death?.errorClass, attempt]), [
      ["status 404", undefined, 1],
      ["status 500, attempt 10", "TypeError", 1],
    ]);
    for (const { death, publishedAt } of letters) {
      for (const time of [death?.at, publishedAt]) assert(Math.abs(Date.parse(time ?? "") - Date.now()) < 60_000, time);
    }
    await depthBecomes(broker, queue, { ready: 0, dead: 7 });
    assertEquals((await listed(broker, queue, { reason: "404" })).map(idOf), [0, 3, 6].map((i) => ids(7)[i]));
    assertEquals((await listed(broker, queue, { messageId: "message-0004" })).map(idOf), ["message-0004"]);
  });

  test("listDeadLetters() may be left at any time", async (broker, queue) => {
    await bury(broker, queue, 9);
    const seen: string[] = [];
    for await (const { messageId } of listDeadLetters(broker, queue, { all: true }, { batch: 2 })) {
      if (seen.push(messageId) === 3) break;
    }
    assertEquals(seen, ids(3));
    await depthBecomes(broker, queue, { ready: 0, dead: 9 });
    assertEquals(await dropDeadLetters(broker, queue, { all: true }), 9);
  });

  test("listDeadLetters() rejects as the broker does, and when it is aborted", async (broker, queue) => {
    await bury(broker, queue, 3);
    await rejectsWith("queue-missing", () => Array.fromAsync(listDeadLetters(broker, `${queue}-missing`)));
    const [controller, reason] = [new AbortController(), new Error("enough")];
    const letters = listDeadLetters(broker, queue, { all: true }, { batch: 1, signal: controller.signal });
    await letters.next();
    controller.abort(reason);
    assertStrictEquals(await rejection(Array.fromAsync(letters)), reason);
    await depthBecomes(broker, queue, { dead: 3 });
  });

  test("retryDeadLetters() puts those that are meant on the queue again, as first attempts", async (broker, queue) => {
    await bury(broker, queue, 6);
    assertEquals(await retryDeadLetters(broker, queue, { messageId: "message-0001" }, { batch: 2 }), 1);
    assertEquals(await idsOf(broker, queue), ["message-0001"]);
    await depthBecomes(broker, queue, { ready: 1, dead: 5 });
    assertEquals(await retryDeadLetters(broker, queue, { reason: "404" }, { batch: 2 }), 2);
    await depthBecomes(broker, queue, { ready: 3, dead: 3 });

    assertEquals(await retryDeadLetters(broker, queue, { all: true }, { batch: 2 }), 3);

    await depthBecomes(broker, queue, { ready: 6, dead: 0 });
    await using subscription = await broker.subscribe(queue);
    for (let i = 0; i < 6; i++) {
      const delivery = await take(subscription);
      assertEquals([delivery.attempt, delivery.death], [1, undefined]);
      await delivery.acknowledge();
    }
  });

  test("retryDeadLetters() does nothing with those for which 'before' rejects", async (broker, queue) => {
    await bury(broker, queue, 6);
    const problem = new Error("no ledger");
    const seen: string[] = [];
    const before = (letters: readonly KeptMessage[]) => {
      seen.push(...letters.map(idOf));
      return seen.length > 2 ? Promise.reject(problem) : Promise.resolve();
    };

    const error = await rejection(retryDeadLetters(broker, queue, { reason: "status" }, { batch: 2, before }));

    assertStrictEquals(error, problem);
    assertEquals(seen, ids(4));
    await depthBecomes(broker, queue, { ready: 2, dead: 4 });
  });

  test("dropDeadLetters() deletes those that are meant, and no other", async (broker, queue) => {
    await bury(broker, queue, 6);
    await broker.publish(queue, messages(1));
    assertEquals(await dropDeadLetters(broker, queue, { reason: "500" }), 4);
    await depthBecomes(broker, queue, { ready: 1, dead: 2 });
    assertEquals((await listed(broker, queue)).map(idOf), ["message-0000", "message-0003"]);
    assertEquals(await dropDeadLetters(broker, queue, { messageId: "no such" }), 0);
    await depthBecomes(broker, queue, { ready: 1, dead: 2 });
    assertEquals(await dropDeadLetters(broker, queue, { all: true }), 2);
    await depthBecomes(broker, queue, { ready: 1, dead: 0 });
  });
});
