import {
  assertEquals,
  assertGreater,
  assertLess,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { FtpsDestination, type FtpsOptions, type UploadErrorCode } from "../../src/upload/mod.ts";
import { sharedPki } from "../support/pki.ts";
import { freePort } from "../support/ports.ts";
import { assertFails } from "./workbench.ts";
import { startReceiver } from "../support/receiver.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";

const TIMEOUT_MS = 300;

function open(port: number, options?: Partial<FtpsOptions>, signal?: AbortSignal): Promise<FtpsDestination> {
  const login = { host: "localhost", user: "dsh", password: "PWSEED", caPem: sharedPki().caPem };
  return FtpsDestination.open(
    { ...login, port, mode: "explicit", timeoutMs: TIMEOUT_MS, ...options },
    signal ? { signal } : {},
  );
}

/** Says each text when it has heard something, the first at once; then nothing more. */
async function withScript(
  texts: readonly string[],
  run: (port: number) => Promise<void>,
  onConnection?: () => void,
): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const talks: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const connection of listener) {
      talks.push(talk(connection, texts));
      onConnection?.();
    }
  })();
  try {
    await run(listener.addr.port);
  } finally {
    listener.close();
    await accepting;
    await Promise.all(talks);
  }
}

async function talk(connection: Deno.Conn, texts: readonly string[]): Promise<void> {
  using _closed = connection;
  const heard = new Uint8Array(4_096);
  try {
    for (const text of texts) {
      await connection.write(new TextEncoder().encode(text));
      if (await connection.read(heard) === null) return;
    }
    while (await connection.read(heard) !== null);
  } catch {
    // The client has reset the connection.
  }
}

for (const mode of ["implicit", "explicit"] as const) {
  Deno.test(`FtpsDestination.open() says that nobody listens, ${mode} TLS`, async () => {
    const port = freePort();

    const error = await assertFails("unreachable", () => open(port, { mode }));

    assertEquals([error.kind, error.retryable], ["unavailable", true]);
    assertStringIncludes(error.message, `localhost:${port}`);
    assertStringIncludes(error.message, "firewall");
  });

  Deno.test(`FtpsDestination.open() says that the host is unknown, ${mode} TLS`, async () => {
    await assertFails("unreachable", () => open(990, { mode, host: "nowhere.invalid", timeoutMs: 10_000 }));
  });

  Deno.test({
    name: `FtpsDestination.open() gives up on a host that does not answer at all, ${mode} TLS`,
    ignore: Deno.build.os !== "linux", // where a connection that finds the queue of a listener full is not answered
    async fn() {
      using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const { port } = listener.addr;
      const waiting: Deno.Conn[] = [];
      for (let isFull = false; !isFull;) {
        const connecting = Deno.connect({ hostname: "127.0.0.1", port, signal: AbortSignal.timeout(200) });
        await connecting.then((connection) => waiting.push(connection), () => isFull = true);
      }
      const begun = performance.now();

      const error = await assertFails("timeout", () => open(port, { mode, host: "127.0.0.1" }));

      assertEquals(error.retryable, true);
      assertLess(performance.now() - begun, 10 * TIMEOUT_MS);
      for (const connection of waiting) connection.close();
    },
  });

  Deno.test(`FtpsDestination.open() gives up on a silent server, ${mode} TLS`, async () => {
    await withScript([], async (port) => {
      const begun = performance.now();
      const error = await assertFails("timeout", () => open(port, { mode }));
      assertEquals(error.retryable, true);
      assertLess(performance.now() - begun, 10 * TIMEOUT_MS);
    });
  });

  Deno.test(`FtpsDestination.open() can be aborted, ${mode} TLS`, async () => {
    const reason = new Error("enough");
    const abort = new AbortController();
    // Not before it is connected: a name that is being looked up cannot be let go.
    await withScript([], async (port) => {
      const opening = open(port, { mode, timeoutMs: 60_000 }, abort.signal);
      assertStrictEquals(await assertRejects(() => opening), reason);
    }, () => abort.abort(reason));
  });
}

Deno.test("put() waits twice as long before each further attempt", async () => {
  await using server = await startReceiver({ mode: "explicit" });
  await using proxy = new TcpProxy(server.port);
  await using destination = await open(proxy.port, { ...server, port: proxy.port, attempts: 4, retryDelayMs: 100 });
  proxy.refusing = true;
  proxy.cut();
  const source = await Deno.makeTempFile({ prefix: "pixl-again-" });
  const begun = performance.now();

  await assertFails("interrupted", () => destination.put(source, "study.zip"));

  assertEquals(proxy.refused, 3); // the first attempt is made on the connection that was cut
  assertGreater(performance.now() - begun, 100 + 200 + 400 - 5);
  await Deno.remove(source);
});

Deno.test("FtpsDestination.open() gives up on a server that is silent after AUTH TLS", async () => {
  await withScript(["220 Ready\r\n", "234 Go ahead\r\n"], async (port) => {
    await assertFails("timeout", () => open(port));
  });
});

Deno.test("FtpsDestination.open() gives up on a server that sends nonsense after AUTH TLS", async () => {
  await withScript(["220 Ready\r\n", "234 Go ahead\r\nthis is not TLS"], async (port) => {
    await assertRejects(() => open(port));
  });
});

const greetings: readonly (readonly [string, UploadErrorCode])[] = [
  ["421 Too many connections\r\n", "interrupted"],
  ["220 Ready\r\n500 What?\r\n", "protocol"],
  ["220 Ready\r\n534 No TLS here\r\n", "protocol"],
];
for (const [greeting, code] of greetings) {
  Deno.test(`FtpsDestination.open() understands ${JSON.stringify(greeting)}`, async () => {
    await withScript(greeting.split(/(?<=\n)/), async (port) => {
      await assertFails(code, () => open(port));
    });
  });
}

Deno.test("FtpsDestination.open() never sends the login without TLS", async () => {
  const heard: string[] = [];
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const server = (async () => {
    for await (const connection of listener) {
      using _closed = connection;
      await connection.write(new TextEncoder().encode("220 Ready\r\n"));
      const bytes = new Uint8Array(4_096);
      for (let read = await connection.read(bytes); read !== null; read = await connection.read(bytes)) {
        heard.push(new TextDecoder().decode(bytes.subarray(0, read)));
        await connection.write(new TextEncoder().encode("502 Not here\r\n")).catch(() => {});
      }
    }
  })();

  await assertFails("protocol", () => open(listener.addr.port));

  listener.close();
  await server.catch(() => {});
  assertEquals(heard.join("").replace("QUIT\r\n", ""), "AUTH TLS\r\n");
});

Deno.test("FtpsDestination.open() with the wrong mode fails and says which setting to look at", async () => {
  await using explicit = await startReceiver({ mode: "explicit" });
  const error = await assertFails("protocol", () => open(explicit.port, { mode: "implicit" }));
  assertStringIncludes(error.message, "implicit or explicit");

  await using implicit = await startReceiver({ mode: "implicit" });
  await assertFails("timeout", () => open(implicit.port, { mode: "explicit" }));
});

const wrong: Partial<FtpsOptions>[] = [
  { port: 0 },
  { port: 1.5 },
  { host: "" },
  { user: "a\r\nDELE x" },
  { password: "" },
  { timeoutMs: 0 },
  { timeoutMs: NaN },
  { attempts: 0 },
  { retryDelayMs: -1 },
];
for (const options of wrong) {
  Deno.test(`FtpsDestination.open() refuses ${Object.entries(options)}`, async () => {
    await assertRejects(() => open(990, options), RangeError, `'${Object.keys(options)[0]}' must`);
  });
}

Deno.test("FtpsDestination.open() refuses a bad base folder", async () => {
  for (const basePath of ["dsh", "", "/a/../b", "/a\r\nDELE x"]) {
    await assertFails("invalid-name", () => open(990, { basePath }));
  }
});
