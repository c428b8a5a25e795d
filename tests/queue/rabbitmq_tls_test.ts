import {
  assertEquals,
  assertLess,
  assertMatch,
  assertNotMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { QueueError, RabbitmqBroker, type RabbitmqOptions } from "@pixl/core/queue";
import { makePki } from "../../src/demo/pki.ts";
import { settingsOf } from "../../src/queue/rabbitmq/options.ts";
import { isInstalled, testWith } from "../support/programs.ts";
import { type RabbitmqServer, startRabbitmq } from "../support/rabbitmq.ts";
import { messages, queueName, take } from "./broker_conformance.ts";

/** Of all tests here; each may show another certificate than the last. */
let server: RabbitmqServer;
const good = makePki({ hosts: ["127.0.0.1", "localhost"] });
const { caPem: ca } = good;

Deno.test.beforeAll(async () => {
  if (isInstalled("rabbitmq")) server = await startRabbitmq({ username: "pixl@uclh/a:b%41", pki: good });
});
Deno.test.afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
});

const tlsTest = (name: string, run: () => Promise<void>) => testWith("rabbitmq", name, run, { own: true });

function options(more: Partial<RabbitmqOptions>): RabbitmqOptions {
  const { host, tlsPort = 0, username, password } = server;
  return { host, port: tlsPort, username, password, ...more };
}

/** Within the time that a person waits without wondering. */
async function refusal(more: Partial<RabbitmqOptions>): Promise<QueueError> {
  const start = performance.now();
  const error = await assertRejects(async () => {
    await using _broker = await RabbitmqBroker.open(options(more));
  }, QueueError);
  assertLess(performance.now() - start, 4_000);
  assertNotMatch(error.message, /PWSEED/);
  return error;
}

tlsTest("RabbitmqBroker.open() trusts the given authority, and takes @ / : % in user name and password", async () => {
  for (const character of "@/:%") {
    assertStringIncludes(server.username, character);
    assertStringIncludes(server.password, character);
  }
  for (const host of ["127.0.0.1", "localhost"]) {
    await using broker = await RabbitmqBroker.open(options({ host, tls: { ca } }));
    const queue = queueName();
    await broker.declare(queue);
    assertEquals(await broker.publish(queue, messages(2_000)), 2_000);
    await using subscription = await broker.subscribe(queue, { prefetch: 10 });
    await (await take(subscription)).acknowledge();
  }
});

tlsTest("RabbitmqBroker.open() refuses an authority that was not given", async () => {
  for (const tls of [{}, { ca: makePki({ hosts: ["127.0.0.1"] }).caPem }]) {
    const error = await refusal({ tls });
    assertEquals([error.code, error.kind], ["broker-refused", "refused"]);
    assertMatch(error.message, /^Cannot verify the certificate of RabbitMQ at .*give the authority that signed it /);
  }
});

tlsTest("RabbitmqBroker.open() refuses a certificate of another name", async () => {
  const error = await refusal({ tls: { ca, servername: "elsewhere.example" } });
  assertEquals(error.code, "broker-refused");
  assertMatch(error.message, /ALTNAME.*the name in it/);

  const elsewhere = makePki({ hosts: ["elsewhere.example"] });
  await server.showCertificate(elsewhere);
  try {
    assertMatch((await refusal({ tls: { ca: elsewhere.caPem } })).message, /ALTNAME/);
    const tls = { ca: elsewhere.caPem, servername: "elsewhere.example" };
    await using _broker = await RabbitmqBroker.open(options({ tls }));
  } finally {
    await server.showCertificate(good);
  }
});

tlsTest("RabbitmqBroker.open() refuses a certificate that has expired", async () => {
  const old = makePki({ hosts: ["127.0.0.1"], days: 30, from: new Date(Date.now() - 31 * 86_400_000) });
  await server.showCertificate(old);
  try {
    // Deno says no more than that it cannot be verified.
    const error = await refusal({ tls: { ca: old.caPem } });
    assertEquals(error.code, "broker-refused");
    assertMatch(error.message, /^Cannot verify the certificate .*see that it has not expired/);
  } finally {
    await server.showCertificate(good);
  }
});

tlsTest("RabbitmqBroker.open() says that a port speaks no TLS", async () => {
  const error = await refusal({ port: server.port, tls: { ca } });
  assertEquals(error.code, "broker-refused");
  assertMatch(error.message, /does not speak TLS there: check the port/);
});

tlsTest("RabbitmqBroker.open() asks whether a port that cuts it off speaks TLS", async () => {
  const error = await refusal({});
  assertEquals(error.code, "broker-unreachable");
  assertMatch(error.message, /whether it speaks TLS there/);
});

for (const [host, tls] of [["rabbitmq.example", {}], ["localhost", false], ["127.0.0.1", false]] as const) {
  Deno.test(`settingsOf() takes ${tls ? "TLS" : "no TLS"} for granted at ${host}`, () => {
    const login = { host, username: "pixl", password: "x" };
    assertEquals([settingsOf(login).tls, settingsOf(login).port], [tls, tls ? 5671 : 5672]);
    assertEquals(settingsOf({ ...login, tls: { servername: "mq" } }).tls, { servername: "mq" });
    assertEquals(settingsOf({ ...login, tls: false }).port, 5672);
  });
}
