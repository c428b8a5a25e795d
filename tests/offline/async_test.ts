import { assertEquals, assertLess, assertRejects, assertStrictEquals } from "@std/assert";
import { abortable, deadline, delay } from "@std/async";
import { FakeTime } from "../support/fake_time.ts";

const reason = new Error("No longer wanted");
const never = () => new Promise<never>(() => {});

/** A signal that knows how many listen to it. */
function countedSignal(): { signal: AbortSignal; abort: () => void; listeners: () => number } {
  const controller = new AbortController();
  const { signal } = controller;
  const listening = new Set<unknown>();
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: AddEventListenerOptions,
  ) => {
    listening.add(listener);
    add(type, listener, options);
  };
  signal.removeEventListener = (type: string, listener: EventListenerOrEventListenerObject) => {
    listening.delete(listener);
    remove(type, listener);
  };
  return { signal, abort: () => controller.abort(reason), listeners: () => listening.size };
}

async function elapsed(wait: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await wait();
  return performance.now() - start;
}

function replaceDateNow(clock: () => number): Disposable {
  const { now } = Date;
  Date.now = clock;
  return { [Symbol.dispose]: () => Date.now = now };
}

Deno.test("delay() waits so long", async () => {
  // A timer may fire up to a millisecond early by this clock.
  assertLess(19, await elapsed(() => delay(20)) + 1);
});

Deno.test("delay() of a negative time, or of NaN, ends at once", async () => {
  for (const ms of [-1, NaN]) assertLess(await elapsed(() => delay(ms)), 500);
});

Deno.test("delay() ends with the reason of the signal, and leaves no timer", async () => {
  for (const ms of [60_000, 2 ** 31, Infinity]) {
    const controller = new AbortController();
    const waiting = delay(ms, { signal: controller.signal });
    controller.abort(reason);
    assertStrictEquals(await assertRejects(() => waiting), reason);
  }
});

Deno.test("delay() does not begin if the signal is aborted", async () => {
  assertStrictEquals(await assertRejects(() => delay(60_000, { signal: AbortSignal.abort(reason) })), reason);
});

Deno.test("delay() may be longer than one timer can be", async () => {
  using time = new FakeTime();
  using _date = replaceDateNow(time.clock);
  let over = false;
  void delay(2 ** 31 + 5).then(() => over = true);

  await time.advance(2 ** 31 + 4);
  assertEquals(over, false);
  await time.advance(1);
  assertEquals(over, true);
});

Deno.test("delay() longer than one timer can be does not end at once", async () => {
  const controller = new AbortController();
  const waiting = delay(2 ** 31, { signal: controller.signal }).then(() => "over", () => "aborted");
  assertEquals(await Promise.race([waiting, delay(5).then(() => "waiting")]), "waiting");
  controller.abort(reason);
  assertEquals(await waiting, "aborted");
});

Deno.test("delay() leaves no listener on the signal", async () => {
  const { signal, listeners } = countedSignal();
  const waiting = delay(1, { signal });
  assertEquals(listeners(), 1);
  await waiting;
  assertEquals(listeners(), 0);
});

Deno.test("abortable() gives what the promise gives", async () => {
  const { signal } = new AbortController();
  assertEquals(await abortable(Promise.resolve(1), signal), 1);
  assertStrictEquals(await assertRejects(() => abortable(Promise.reject(reason), signal)), reason);
});

Deno.test("abortable() ends with the reason of the signal, whatever becomes of the promise", async () => {
  const controller = new AbortController();
  const work = Promise.withResolvers<void>();
  const waiting = abortable(work.promise, controller.signal);
  controller.abort(reason);
  assertStrictEquals(await assertRejects(() => waiting), reason);
  work.reject(new Error("Too late to matter"));
});

Deno.test("abortable() with an aborted signal rejects, even if the promise is settled", async () => {
  const signal = AbortSignal.abort(reason);
  assertStrictEquals(await assertRejects(() => abortable(Promise.resolve(1), signal)), reason);
  assertStrictEquals(await assertRejects(() => abortable(Promise.reject(new Error("a")), signal)), reason);
});

Deno.test("abortable() leaves no listener on the signal", async () => {
  const { signal, listeners } = countedSignal();
  const work = Promise.withResolvers<void>();
  const waiting = abortable(work.promise, signal);
  assertEquals(listeners(), 1);
  work.resolve();
  await waiting;
  assertEquals(listeners(), 0);
});

/** Gives 1, 2, 3, and says when it is closed. */
async function* numbers(log: string[]): AsyncGenerator<number> {
  try {
    yield* [1, 2, 3];
  } finally {
    log.push("closed");
  }
}

Deno.test("abortable() gives all items of an iterable", async () => {
  assertEquals(await Array.fromAsync(abortable(numbers([]), new AbortController().signal)), [1, 2, 3]);
});

Deno.test("abortable() closes the iterable when it is aborted between two items", async () => {
  const controller = new AbortController();
  const log: string[] = [];
  const seen: number[] = [];
  const reading = async () => {
    for await (const n of abortable(numbers(log), controller.signal)) {
      seen.push(n);
      controller.abort(reason);
    }
  };
  assertStrictEquals(await assertRejects(reading), reason);
  assertEquals(seen, [1]);
  assertEquals(log, ["closed"]);
});

Deno.test("deadline() gives what the promise gives in time, and leaves no timer", async () => {
  assertEquals(await deadline(Promise.resolve(1), 60_000), 1);
  assertStrictEquals(await assertRejects(() => deadline(Promise.reject(reason), 60_000)), reason);
});

Deno.test("deadline() ends with a TimeoutError after so long", async () => {
  const error = await assertRejects(() => deadline(never(), 5), DOMException);
  assertEquals(error.name, "TimeoutError");
});

Deno.test("deadline() ends with the reason of the signal if that comes first", async () => {
  const controller = new AbortController();
  const waiting = deadline(never(), 60_000, { signal: controller.signal });
  controller.abort(reason);
  assertStrictEquals(await assertRejects(() => waiting), reason);
});

Deno.test("deadline() with an aborted signal rejects with its reason, even if no time is left", async () => {
  const signal = AbortSignal.abort(reason);
  assertStrictEquals(await assertRejects(() => deadline(Promise.resolve(1), 0, { signal })), reason);
});

Deno.test("deadline() of Infinity never ends the wait", async () => {
  assertEquals(await deadline(delay(5).then(() => 1), Infinity), 1);
});

Deno.test("deadline() refuses a negative time", async () => {
  await assertRejects(() => deadline(Promise.resolve(), -1), TypeError);
});

Deno.test("deadline() keeps the process alive until it ends", async () => {
  const program = `
    import { deadline } from "@std/async";
    await deadline(new Promise(() => {}), 5).catch((error) => Deno.exit(error.name === "TimeoutError" ? 3 : 4));
  `;
  const command = new Deno.Command(Deno.execPath(), { args: ["eval", program], stdout: "null", stderr: "null" });
  assertEquals((await command.output()).code, 3);
});
