import { assertGreater, assertRejects, assertStrictEquals } from "@std/assert";
import { FtpsPool, type FtpsPoolOptions, Pace } from "../../src/upload/mod.ts";
import { startReceiver } from "../support/receiver.ts";
import { Workbench } from "./workbench.ts";

/** A pool whose workers run that; nobody is connected to. */
function optionsOf(script: string): FtpsPoolOptions {
  return {
    host: "localhost",
    port: 990,
    mode: "implicit",
    user: "dsh",
    password: "PWSEED",
    connections: 1,
    timeoutMs: 200,
    workerModule: new URL(`data:application/javascript,${encodeURIComponent(script)}`),
  };
}

const ANSWERS_OPEN = `self.onmessage = ({ data: { id, call } }) => {
  if (call === "open") self.postMessage({ id, value: undefined });
};`;

Deno.test("FtpsPool.open() can be aborted while its worker does not answer", async () => {
  const reason = new Error("enough");
  const abort = new AbortController();

  const opening = FtpsPool.open(optionsOf("self.onmessage = () => {};"), { signal: abort.signal });
  abort.abort(reason);

  assertStrictEquals(await assertRejects(() => opening), reason);
});

Deno.test("FtpsPool.put() can be aborted while its worker does not answer, and the next one has a new worker", async () => {
  await using pool = await FtpsPool.open(optionsOf(ANSWERS_OPEN));

  for (const reason of [new Error("enough"), new Error("enough again")]) {
    const abort = new AbortController();
    const putting = pool.put("/nowhere", "study.zip", { signal: abort.signal });
    setTimeout(() => abort.abort(reason), 50);

    assertStrictEquals(await assertRejects(() => putting), reason);
  }
});

Deno.test("FtpsPool can be closed while its workers do not answer: what is on its way fails", async () => {
  const pool = await FtpsPool.open(optionsOf(ANSWERS_OPEN));
  const putting = assertRejects(() => pool.put("/nowhere", "study.zip"), Error, "does not answer");

  await pool[Symbol.asyncDispose]();

  await putting;
});

Deno.test("FtpsPool keeps one pace over all its connections", async () => {
  await using workbench = await Workbench.on(await startReceiver({ mode: "explicit" }));
  await using pool = await FtpsPool.open({ ...workbench.server, connections: 4, pace: new Pace(4_000_000) });
  const source = await workbench.file(1_000_000);
  const begun = performance.now();

  await Promise.all(Array.from({ length: 8 }, (_, at) => pool.put(source, `${at}.zip`)));

  assertGreater(performance.now() - begun, 1_900); // 8 MB at 4 MB a second; the last piece of a quarter is not waited for
});
