import { assertEquals } from "@std/assert";
import type { Delivery } from "@pixl/core/queue";
import { HandlerCalls } from "../../src/queue/handler_calls.ts";
import { FakeTime } from "../support/fake_time.ts";
import { study } from "../support/scripted_broker.ts";

const message = study();

function delivery(): Delivery {
  const none = () => Promise.resolve();
  const answers = { acknowledge: none, release: none, requeue: none, retry: none, deadLetter: none };
  return { messageId: "a", body: new Uint8Array(), attempt: 1, lost: new AbortController().signal, ...answers };
}

/** Calls of a handler that never answers, but for the messages of `quick`. */
function scene(time: FakeTime, timeoutMs: number, quick: readonly number[] = []) {
  let count = 0;
  const handler = () =>
    quick.includes(count++) ? Promise.resolve({ kind: "done" } as const) : new Promise<never>(() => {});
  const calls = new HandlerCalls(handler, timeoutMs, new AbortController().signal, time.clock);
  const ended: string[] = [];
  const call = (name: string) => {
    void calls.call(message, delivery()).then(({ kind }) => ended.push(`${name} ${kind} at ${time.clock()}`));
  };
  return { calls, call, ended };
}

Deno.test("HandlerCalls ends each of several calls when its own time is over", async () => {
  using time = new FakeTime();
  const { calls, call, ended } = scene(time, 100);
  using _ = calls;
  call("a");
  await time.advance(30);
  call("b");
  call("c");
  await time.advance(69);
  assertEquals(ended, []);
  await time.advance(100);
  assertEquals(ended, ["a retry at 100", "b retry at 130", "c retry at 130"]);
});

Deno.test("HandlerCalls gives a call all its time when an earlier one has ended", async () => {
  using time = new FakeTime();
  const { calls, call, ended } = scene(time, 100, [0]);
  using _ = calls;
  call("quick");
  await time.advance(60);
  call("slow");
  await time.advance(99);
  assertEquals(ended, ["quick done at 0"]);
  await time.advance(1);
  assertEquals(ended, ["quick done at 0", "slow retry at 160"]);
});

Deno.test("HandlerCalls watches again after nothing was under way", async () => {
  using time = new FakeTime();
  const { calls, call, ended } = scene(time, 100, [0]);
  using _ = calls;
  call("quick");
  await time.advance(500);
  assertEquals(time.timers, 0);
  call("slow");
  await time.advance(100);
  assertEquals(ended, ["quick done at 0", "slow retry at 600"]);
});

Deno.test("HandlerCalls leaves no timer when it is disposed of", async () => {
  using time = new FakeTime();
  const { calls, call } = scene(time, 100, [0]);
  call("quick");
  await time.advance(1);
  assertEquals(time.timers, 1);
  calls[Symbol.dispose]();
  assertEquals(time.timers, 0);
});
