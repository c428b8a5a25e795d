import { assertEquals, assertNotMatch, assertRejects } from "@std/assert";
import { HandlerError } from "../../src/cli/errors.ts";
import { sortWords, tryHandler } from "../../src/cli/handlers.ts";
import { freePort } from "../support/ports.ts";

Deno.test("sortWords() gives queues back that the option before them has taken", () => {
  const url = "http://imaging:8000/study";
  assertEquals(sortWords({ queues: [], handlers: [url, "pacs", "mri=image"] }), {
    queues: ["pacs", "mri=image"],
    handlers: [url],
  });
  const handlers = [`pacs=${url}`, `ehr=${url}`, "localhost:8000/study", "ftp://x"];
  assertEquals(sortWords({ queues: ["pacs", "ehr"], handlers }), { queues: ["pacs", "ehr"], handlers });
});

Deno.test("tryHandler() takes any answer, sends no study, and follows nobody", async () => {
  const asked: string[] = [];
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
    asked.push(`${request.method} ${await request.text()}`);
    return new Response("no", { status: 302, headers: { location: "http://nowhere.invalid/" } });
  });
  const status = await tryHandler(new URL(`http://127.0.0.1:${server.addr.port}/study`), new AbortController().signal);
  assertEquals([status, asked], [302, ["OPTIONS "]]);
});

Deno.test("tryHandler() names where nobody answers, without the rest of the URL", async () => {
  const url = new URL(`http://127.0.0.1:${freePort()}/PWSEED`);
  const error = await assertRejects(() => tryHandler(url, new AbortController().signal), HandlerError, url.host);
  assertNotMatch(error.message, /SEED/);
});

Deno.test("tryHandler() rejects with the reason of its signal", async () => {
  const reason = new Error("stop");
  const url = new URL("http://127.0.0.1:1/");
  assertEquals(await assertRejects(() => tryHandler(url, AbortSignal.abort(reason))), reason);
});
