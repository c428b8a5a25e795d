import { assertEquals, assertRejects } from "@std/assert";
import { delay } from "@std/async";
import type { ConfirmChannel } from "amqplib";
import { EventEmitter } from "node:events";
import { QueueError } from "../../src/queue/mod.ts";
import { Confirms } from "../../src/queue/rabbitmq/confirms.ts";
import type { Connection } from "../../src/queue/rabbitmq/connection.ts";

const LETTER = { messageId: "one", body: new Uint8Array(1) };

/** A connection whose broker confirms when it is told to, and may be short of memory. */
class StubConnection {
  readonly settings = { host: "broker", port: 5672 };
  readonly closing = new AbortController().signal;
  readonly failure = undefined;
  blocked = false;
  readonly #listeners: (() => void)[] = [];
  readonly #confirmations: (() => void)[] = [];

  onBlockedChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  setBlocked(blocked: boolean): void {
    this.blocked = blocked;
    for (const listener of this.#listeners) listener();
  }

  confirmAll(): void {
    for (const confirm of this.#confirmations.splice(0)) confirm();
  }

  gather(): void {}

  confirmChannel(): Promise<ConfirmChannel> {
    const publish = (_exchange: string, _queue: string, _content: unknown, _options: unknown, done: () => void) => {
      this.#confirmations.push(done);
      return true;
    };
    return Promise.resolve(Object.assign(new EventEmitter(), { publish }) as unknown as ConfirmChannel);
  }

  get confirms(): Confirms {
    return new Confirms(this as unknown as Connection);
  }
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  return await Promise.race([promise.then(() => true, () => true), delay(0).then(() => false)]);
}

Deno.test("Confirms.ready() waits for the end of an alarm, if it is told to bear it", async () => {
  const connection = new StubConnection();
  connection.setBlocked(true);
  const { confirms } = connection;
  await assertRejects(() => confirms.ready({ timeoutMs: 10 }), QueueError, "short of memory or disk");
  const ready = confirms.ready({ timeoutMs: 10, bearsAlarm: true });
  await delay(50);
  assertEquals(await isSettled(ready), false);
  connection.setBlocked(false);
  await ready;
});

Deno.test("Confirms.ready() has all its time again when an alarm that it bore is over", async () => {
  const connection = new StubConnection();
  connection.setBlocked(true);
  let open = () => {};
  const { promise, resolve } = Promise.withResolvers<ConfirmChannel>();
  const channel = await connection.confirmChannel();
  connection.confirmChannel = () => (open = () => resolve(channel), promise);
  const ready = connection.confirms.ready({ timeoutMs: 200, bearsAlarm: true });
  await delay(150);
  connection.setBlocked(false);
  await delay(100); // it has waited longer than its time by now
  assertEquals(await isSettled(ready), false);
  open();
  assertEquals(await ready, channel);
});

Deno.test("Confirms.ready() ends with its signal's reason, also during an alarm that it bears", async () => {
  const connection = new StubConnection();
  connection.setBlocked(true);
  const [abort, reason] = [new AbortController(), new Error("lost")];
  const ready = connection.confirms.ready({ timeoutMs: 10, bearsAlarm: true }, { signal: abort.signal });
  await Promise.all([
    assertRejects(() => ready).then((error) => assertEquals(error, reason)),
    delay(25).then(() => abort.abort(reason)),
  ]);
});

Deno.test("Confirms.ready() rejects where no time is left, and nothing else does", async () => {
  const connection = new StubConnection();
  connection.setBlocked(true);
  await assertRejects(() => connection.confirms.ready({ timeoutMs: -5 }), QueueError);
});

Deno.test("Confirms.send() keeps waiting for a confirmation during an alarm that it bears", async () => {
  const connection = new StubConnection();
  const { confirms } = connection;
  const channel = await confirms.ready({ timeoutMs: 1_000 });
  const [bearing, other] = [true, false].map((bearsAlarm) =>
    confirms.send(channel, "pacs", LETTER, { timeoutMs: 10, bearsAlarm })
  );
  connection.setBlocked(true);
  await assertRejects(() => other?.confirmed ?? Promise.resolve(), QueueError);
  await delay(30);
  assertEquals(await isSettled(bearing?.confirmed ?? Promise.resolve()), false);
  connection.setBlocked(false);
  connection.confirmAll();
  await bearing?.confirmed;
});

Deno.test("Confirms.send() gives a silent broker no more than its time", async () => {
  const { confirms } = new StubConnection();
  const channel = await confirms.ready({ timeoutMs: 1_000 });
  const { confirmed } = confirms.send(channel, "pacs", LETTER, { timeoutMs: 10, bearsAlarm: true });
  await assertRejects(() => confirmed, QueueError, "check that it is running");
});

Deno.test("Confirms.send() has all its time again when an alarm that it bore is over", async () => {
  const connection = new StubConnection();
  const { confirms } = connection;
  const channel = await confirms.ready({ timeoutMs: 1_000 });
  const { confirmed } = confirms.send(channel, "pacs", LETTER, { timeoutMs: 1_000, bearsAlarm: true });
  connection.setBlocked(true);
  await delay(1_500);
  connection.setBlocked(false);
  await delay(650); // later than the next look, had the time not begun anew
  assertEquals(await isSettled(confirmed), false);
  connection.confirmAll();
  await confirmed;
});
