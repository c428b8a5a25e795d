import { assertEquals } from "@std/assert";
import { httpStudyService, retryAfterMs } from "../../src/pipeline/study_service.ts";
import { study } from "../support/scripted_broker.ts";

/** Asks a service that answers with `response` once. */
async function ask(answer: (request: Request) => Response | Promise<Response>): Promise<unknown> {
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, answer);
  const service = httpStudyService(new URL(`http://127.0.0.1:${server.addr.port}/pacs`));
  return await service(study(), { attempt: 2, messageId: "an-id", signal: new AbortController().signal });
}

const status = (code: number, headers: Record<string, string> = {}) =>
  ask(() => new Response(null, { status: code, headers }));

Deno.test("httpStudyService() posts the message as JSON, with its id and attempt", async () => {
  const seen: unknown[] = [];
  await ask(async (request) => {
    const { headers } = request;
    seen.push(
      request.method,
      headers.get("content-type"),
      headers.get("x-pixl-message-id"),
      headers.get("x-pixl-attempt"),
    );
    seen.push(await request.json());
    return new Response();
  });
  assertEquals(seen, ["POST", "application/json", "an-id", "2", study()]);
});

Deno.test("httpStudyService() gives a JSON reply", async () => {
  assertEquals(await ask(() => Response.json({ pseudo_study_uid: "2.25.1" })), {
    kind: "done",
    reply: { pseudo_study_uid: "2.25.1" },
  });
});

Deno.test("httpStudyService() takes an empty reply for done", async () => {
  assertEquals(await status(204), { kind: "done", reply: undefined });
});

Deno.test("httpStudyService() tries again when a reply is not JSON", async () => {
  assertEquals(await ask(() => new Response("<html>")), { kind: "retry", reason: "the service's reply is not JSON" });
});

for (const code of [429, 503]) {
  Deno.test(`httpStudyService() puts back at ${code}, after Retry-After`, async () => {
    const reason = `the service answered with status ${code}`;
    assertEquals(await status(code, { "retry-after": "3" }), { kind: "requeue", reason, afterMs: 3_000 });
  });
}

for (const code of [408, 500, 502, 504]) {
  Deno.test(`httpStudyService() tries again at ${code}`, async () => {
    assertEquals(await status(code), { kind: "retry", reason: `the service answered with status ${code}` });
  });
}

for (const code of [400, 404, 410, 422]) {
  Deno.test(`httpStudyService() discards at ${code}`, async () => {
    assertEquals(await status(code), { kind: "discard", reason: `the service answered with status ${code}` });
  });
}

Deno.test("httpStudyService() follows no redirect to another host", async () => {
  assertEquals(await status(307, { location: "http://127.0.0.1:1/" }), {
    kind: "discard",
    reason: "the service answered with status 307",
  });
});

Deno.test("httpStudyService() tries again when nobody answers", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  const service = httpStudyService(new URL(`http://127.0.0.1:${port}/`));
  const answer = await service(study(), { attempt: 1, messageId: "an-id", signal: new AbortController().signal });
  assertEquals(answer, { kind: "retry", reason: "the service did not answer" });
});

Deno.test("httpStudyService() reads a reply up to 16 MiB", async () => {
  const chunk = new Uint8Array(1 << 20).fill(32);
  let sent = 0;
  const body = new ReadableStream({
    pull: (controller) => {
      if (sent++ < 17) controller.enqueue(chunk);
      else controller.close();
    },
  });
  assertEquals(await ask(() => new Response(body)), { kind: "retry", reason: "the service did not answer" });
});

const NOW = Date.UTC(2026, 0, 1);
const HEADERS: readonly [string | null, number][] = [
  [null, 5_000],
  ["0", 0],
  ["120", 120_000],
  ["999999", 3_600_000],
  ["Thu, 01 Jan 2026 00:00:10 GMT", 10_000],
  ["Wed, 31 Dec 2025 23:59:00 GMT", 0],
  ["soon", 5_000],
];
for (const [header, ms] of HEADERS) {
  Deno.test(`retryAfterMs(${JSON.stringify(header)}) is ${ms}`, () => {
    assertEquals(retryAfterMs(header, NOW), ms);
  });
}

Deno.test("httpStudyService() goes to the host that was named, whatever proxy the environment names", async () => {
  let atProxy = 0;
  await using proxy = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    atProxy += 1;
    return new Response();
  });
  await using service = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => Response.json("direct"),
  );
  const program = `
    import { httpStudyService } from "${new URL("../../src/pipeline/study_service.ts", import.meta.url)}";
    const ask = httpStudyService(new URL("http://127.0.0.1:${service.addr.port}/"));
    const answer = await ask({}, { attempt: 1, messageId: "an-id", signal: new AbortController().signal });
    console.log(JSON.stringify(answer));`;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", program],
    env: {
      HTTP_PROXY: `http://127.0.0.1:${proxy.addr.port}`,
      http_proxy: `http://127.0.0.1:${proxy.addr.port}`,
      NO_PROXY: "",
    },
  }).output();
  const text = new TextDecoder();
  assertEquals([text.decode(stdout), atProxy], ['{"kind":"done","reply":"direct"}\n', 0], text.decode(stderr));
});
