import { assertEquals, assertRejects } from "@std/assert";
import { delay } from "@std/async";
import type { Channel, Message } from "amqplib";
import { EventEmitter } from "node:events";
import type { Connection } from "../../src/queue/rabbitmq/connection.ts";
import { Session } from "../../src/queue/rabbitmq/session.ts";
import { QueueError } from "@pixl/core/queue";

/** A channel that writes down what is sent. What RabbitMQ makes of it, the conformance suite sees. */
function scene() {
  const sent: string[] = [];
  const [closing, ended] = [new AbortController(), new AbortController()];
  const tag = ({ fields }: Message) => fields.deliveryTag;
  const channel = Object.assign(new EventEmitter(), {
    ack: (message: Message, upTo = false) => void sent.push(`ack ${upTo ? "to " : ""}${tag(message)}`),
    nack: (message: Message) => void sent.push(`nack ${tag(message)}`),
    close: () => {
      sent.push("close");
      return Promise.resolve();
    },
  });
  const connection = { closing: closing.signal, ended: ended.signal, gather: () => {} };
  const session = new Session(channel as unknown as Channel, connection as unknown as Connection);
  const take = (count: number) =>
    Array.from({ length: count }, (_, i) => {
      const message = { fields: { deliveryTag: i + 1 } } as Message;
      session.hold(message);
      return message;
    });
  return { session, channel, closing, sent, take };
}

type Scene = ReturnType<typeof scene>;

Deno.test("Session acknowledges all up to the oldest in hand at once, the others singly", async () => {
  const { session, sent, take } = scene();
  const [first, second, third, fourth, fifth, sixth] = take(6);
  const some = [third, first, fifth, second, sixth].map((message) => message && session.acknowledge(message));
  assertEquals(sent, []);
  await Promise.all(some);
  assertEquals(sent, ["ack 5", "ack 6", "ack to 3"]);
  if (fourth) await session.acknowledge(fourth);
  assertEquals(sent.slice(3), ["ack to 4"]);
});

Deno.test("Session.acknowledge() does not cover what was handed back", async () => {
  const { session, sent, take } = scene();
  const [first, second] = take(2);
  if (first) session.handBack(first);
  if (second) await session.acknowledge(second);
  assertEquals(sent, ["nack 1", "ack to 2"]);
});

Deno.test("Session.acknowledge() rejects when the channel is lost before it was sent", async () => {
  const { session, channel, sent, take } = scene();
  const answers = take(3).map((message) => session.acknowledge(message));
  channel.emit("close");
  for (const answer of answers) await assertRejects(() => answer, QueueError);
  assertEquals(sent, []);
});

Deno.test("Session.acknowledge() resolves when it was sent, not before", async () => {
  const { session, sent, take } = scene();
  const [message] = take(1);
  let resolved = false;
  const answer = message && session.acknowledge(message).then(() => resolved = true);
  for (let i = 0; i < 20; i++) await Promise.resolve();
  assertEquals([resolved, sent.length], [false, 0]);
  await answer;
  assertEquals(sent, ["ack to 1"]);
});

for (
  const [what, end] of [
    ["retire()", ({ session }) => session.retire()],
    ["end()", ({ session }) => session.end()],
    ["a connection that begins to close", ({ closing, channel }) => {
      closing.abort();
      void channel.close();
    }],
  ] as const satisfies readonly (readonly [string, (here: Scene) => void])[]
) {
  Deno.test(`Session sends what was acknowledged before ${what} closes the channel`, async () => {
    const here = scene();
    const answers = here.take(2).map((message) => here.session.acknowledge(message));
    await Promise.resolve();
    end(here);
    assertEquals(here.sent, ["ack to 2", "close"]);
    await Promise.all(answers);
    await delay(0);
  });
}

Deno.test("Session that is retired closes the channel with the last answer", async () => {
  const { session, sent, take } = scene();
  const [first, second] = take(2);
  session.retire();
  if (first) await session.acknowledge(first);
  assertEquals(sent, ["ack to 1"]);
  if (second) await session.acknowledge(second);
  assertEquals(sent, ["ack to 1", "ack to 2", "close"]);
});
