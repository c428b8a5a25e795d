import {
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLess,
  assertMatch,
  assertRejects,
} from "@std/assert";
import { PublishError, QueueError, RabbitmqBroker, type RabbitmqOptions } from "@pixl/core/queue";
import { frameOf } from "../../support/amqp_wire.ts";
import {
  type Heard,
  type Peer,
  type Published,
  type Script,
  ScriptedRabbitmq,
} from "../../support/scripted_rabbitmq.ts";
import { ALL, numbered, numbersFrom } from "./scenario.ts";

const QUEUE = "scripted";
/** What RabbitMQ's management port says to AMQP. */
const HTTP = new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n\r\n");

function open(server: ScriptedRabbitmq, more: Partial<RabbitmqOptions> = {}): Promise<RabbitmqBroker> {
  return RabbitmqBroker.open({ host: "127.0.0.1", port: server.port, username: "u", password: "p", ...more });
}

/** What `open()` rejects with, which must not take long. */
async function refusal(script: Script): Promise<QueueError> {
  await using server = new ScriptedRabbitmq(script);
  const start = performance.now();
  const error = await assertRejects(async () => {
    await using _broker = await open(server, { connectTimeoutMs: 500 });
  }, QueueError);
  assertLess(performance.now() - start, 6_000);
  return error;
}

const STEPS: readonly Heard[] = ["header", "start-ok", "tune-ok", "open"];

for (const step of STEPS) {
  const atStep = (act: (peer: Peer) => void): Script => ({
    hear: (heard, peer) => {
      if (heard === step) act(peer);
      return heard === step;
    },
  });

  Deno.test(`RabbitmqBroker.open() says that the connection is cut in answer to '${step}'`, async () => {
    const error = await refusal(atStep((peer) => peer.drop()));
    assertEquals(error.code, "broker-unreachable");
    assertMatch(error.message, /\((it hung up|ECONNRESET)\)/);
  });

  // This one wants no answer.
  if (step !== "tune-ok") {
    Deno.test(`RabbitmqBroker.open() gives up when '${step}' is not answered`, async () => {
      const error = await refusal(atStep(() => {}));
      assertEquals(error.code, "broker-unreachable");
      assertMatch(error.message, /\(no answer\)/);
    });
  }

  Deno.test(`RabbitmqBroker.open() says that '${step}' is answered with nonsense`, async () => {
    const error = await refusal(atStep((peer) => peer.send(HTTP)));
    assertEquals(error.code, "broker-refused");
    assertMatch(error.message, /does not speak AMQP there: check the port/);
  });
}

Deno.test("RabbitmqBroker.open() says that the login was refused, by a close in answer to it", async () => {
  const error = await refusal({
    hear: (heard, peer) => {
      if (heard === "start-ok") {
        peer.close(403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN");
      }
      return heard === "start-ok";
    },
  });
  assertEquals(error.code, "broker-refused");
});

interface Listing {
  readonly server: ScriptedRabbitmq;
  readonly error: PublishError;
}

/** Publishes 2,000 messages to a server that follows the script, and looks at what is listed; afterwards the server must be usable. */
async function listed(
  script: Script,
  look: (listing: Listing) => void,
  { timeoutMs = 20_000, ...more }: Partial<RabbitmqOptions> & { timeoutMs?: number } = {},
): Promise<void> {
  await using server = new ScriptedRabbitmq({
    ...script,
    publish: (message, peer) => {
      if (message.messageId === "after" || script.publish === undefined) peer.ack(message);
      else script.publish(message, peer);
    },
  });
  await using broker = await open(server, more);
  const error = await assertRejects(() => broker.publish(QUEUE, numbered(0, ALL), { timeoutMs }), PublishError);
  assertEquals(error.confirmed + error.unconfirmed.length, ALL);
  look({ server, error });
  assertEquals(await broker.publish(QUEUE, [{ messageId: "after", body: new Uint8Array(2) }]), 1);
}

/** The code of what was to blame. */
function blamed({ cause }: PublishError): string {
  assertInstanceOf(cause, QueueError);
  return cause.code;
}

const FAULTY = 700;

Deno.test("publish() lists the one message that is never confirmed, after its time-out", async () => {
  const start = performance.now();
  await listed({ publish: (message, peer) => message.number === FAULTY || peer.ack(message) }, ({ error }) => {
    assertEquals(error.unconfirmed, [String(FAULTY - 1)]);
    assertEquals(blamed(error), "broker-unreachable");
    assertMatch(String(error.cause), /did not confirm a message within 2000 ms/);
    assertLess(performance.now() - start, 10_000);
  }, { timeoutMs: 2_000 });
});

Deno.test("publish() lists the one message that is refused", async () => {
  const publish = (message: Published, peer: Peer) =>
    message.number === FAULTY ? peer.nack(message) : peer.ack(message);
  await listed({ publish }, ({ error }) => {
    assertEquals(error.unconfirmed, [String(FAULTY - 1)]);
    assertMatch(String(error.cause), /nacked/);
  });
});

for (const confirmed of [true, false]) {
  Deno.test(`publish() lists a message that comes back ${confirmed ? "and is confirmed" : "without confirmation"}`, async () => {
    const publish = (message: Published, peer: Peer) => {
      if (message.number === FAULTY) peer.return(message, QUEUE);
      if (message.number !== FAULTY || confirmed) peer.ack(message);
    };
    await listed({ publish }, ({ error }) => {
      assertEquals(error.unconfirmed, [String(FAULTY - 1)]);
      assertEquals(blamed(error), confirmed ? "queue-missing" : "broker-unreachable");
    }, { timeoutMs: 2_000 });
  });
}

Deno.test("publish() takes one confirmation for many messages", async () => {
  await using server = new ScriptedRabbitmq({
    publish: (message, peer) => message.number % 100 === 0 && peer.ack(message, true),
  });
  await using broker = await open(server);
  assertEquals(await broker.publish(QUEUE, numbered(0, ALL)), ALL);
});

Deno.test("publish() takes confirmations in any order", async () => {
  const held: Published[] = [];
  await using server = new ScriptedRabbitmq({
    publish: (message, peer) => {
      held.push(message);
      if (held.length === 100) { for (const each of held.splice(0).reverse()) peer.ack(each); }
    },
  });
  await using broker = await open(server);
  assertEquals(await broker.publish(QUEUE, numbered(0, ALL)), ALL);
});

Deno.test("publish() lists all that one refusal refuses", async () => {
  const publish = (message: Published, peer: Peer) => {
    if (message.number === 600) peer.ack(message, true);
    if (message.number === FAULTY) peer.nack(message, true);
    if (message.number > FAULTY) peer.ack(message);
  };
  await listed({ publish }, ({ error }) => assertEquals(error.unconfirmed.map(Number), numbersFrom(600, 100)));
});

/** Each ends the channel or the connection, when of 700 messages 650 were confirmed. */
const ENDS: Readonly<Record<string, (peer: Peer, message: Published) => void>> = {
  "closes the channel (404)": (peer, { channel }) => peer.closeChannel(channel, 404, "NOT_FOUND - no exchange 'x'"),
  "closes the channel (406)": (peer, { channel }) =>
    peer.closeChannel(channel, 406, "PRECONDITION_FAILED - no such tag"),
  "closes the connection (320)": (peer) => peer.close(320, "CONNECTION_FORCED - broker forced connection closure"),
  "hangs up": (peer) => void peer.hangUp(),
  "sends a frame without its end": nonsense(frameOf(1, 1, new Uint8Array(20)).fill(0, -1)),
  "sends a frame of no known type": nonsense(frameOf(9, 1, new Uint8Array(4))),
  "sends a method that does not exist": nonsense(frameOf(1, 1, Uint8Array.of(0, 60, 3, 231))),
  "sends a confirmation that is cut short": nonsense(frameOf(1, 1, Uint8Array.of(0, 60, 0, 80, 0))),
  "sends a frame longer than agreed": nonsense(frameOf(3, 1, new Uint8Array(200_000))),
  "sends something else": nonsense(HTTP),
};

function nonsense(bytes: Uint8Array): (peer: Peer) => void {
  return (peer) => {
    peer.deafen();
    peer.send(bytes);
  };
}

for (const [what, end] of Object.entries(ENDS)) {
  Deno.test(`publish() lists exactly what was not confirmed when the server ${what}, and carries on`, async () => {
    const confirmed = new Set<string>();
    const publish = (message: Published, peer: Peer) => {
      if (message.number <= 650 || message.number > FAULTY) {
        confirmed.add(message.messageId);
        peer.ack(message);
      } else if (message.number === FAULTY) end(peer, message);
    };
    await listed({ publish }, ({ error }) => {
      const expected = numbersFrom(0, ALL).filter((id) => !confirmed.has(String(id)));
      assertEquals(error.unconfirmed.map(Number).toSorted((a, b) => a - b), expected);
      assertGreaterOrEqual(expected.length, FAULTY - 650);
    });
  });
}

Deno.test("publish() notices by the missing heartbeat that the server is gone", async () => {
  const publish = (message: Published, peer: Peer) => message.number < FAULTY ? peer.ack(message) : peer.deafen();
  const start = performance.now();
  await listed({ publish }, ({ error, server }) => {
    assertEquals(error.confirmed, FAULTY - 1);
    assertLess(performance.now() - start, 15_000);
    assertGreaterOrEqual(server.connections, 3);
  }, { heartbeatSeconds: 1, timeoutMs: 30_000 });
});

Deno.test("publish() sends nothing to a server that said before the first message that it is short of memory", async () => {
  let publisher: Peer | undefined;
  await using server = new ScriptedRabbitmq({
    hear: (heard, peer) => {
      if (heard === "confirm.select") (publisher = peer).block("low on memory");
      return false;
    },
  });
  await using broker = await open(server);
  const error = await assertRejects(() => broker.publish(QUEUE, numbered(0, ALL), { timeoutMs: 1_000 }), PublishError);
  assertEquals(error.unconfirmed.map(Number), numbersFrom(0, ALL));
  assertEquals(blamed(error), "broker-unreachable");
  assertMatch(String(error.cause), /short of memory or disk/);
  assertEquals(server.published, []);

  const publishing = broker.publish(QUEUE, numbered(0, ALL));
  publisher?.unblock();
  assertEquals(await publishing, ALL);
});

for (
  const [limit, bytes, count, most] of [["1,000 messages", 100, 2_000, 1_000], ["8 MiB", 100_000, 300, 83]] as const
) {
  Deno.test(`publish() has no more than ${limit} on the way to a server that confirms nothing`, async () => {
    await using server = new ScriptedRabbitmq({ publish: () => {} });
    await using broker = await open(server);
    const body = new Uint8Array(bytes);
    const messages = Array.from({ length: count }, (_, n) => ({ messageId: String(n), body }));
    const error = await assertRejects(() => broker.publish("pacs", messages, { timeoutMs: 1_500 }), PublishError);
    assertEquals([error.confirmed, error.unconfirmed.length], [0, count]);
    assertEquals(server.published.length, most);
  });
}
