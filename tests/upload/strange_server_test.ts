import { assert, assertEquals, assertLess } from "@std/assert";
import { deadline, delay } from "@std/async";
import { FtpsDestination, type FtpsOptions, type UploadErrorCode } from "../../src/upload/mod.ts";
import { makePki } from "../../src/demo/pki.ts";
import { sharedPki } from "../support/pki.ts";
import { type Script, ScriptedFtps } from "../support/scripted_ftps.ts";
import { assertFails, randomBytes } from "./workbench.ts";

const MB = 1 << 20;

/** Puts a file to a server of that kind. @param bytes Its size. @default {3 MiB} */
async function put(
  script: Script,
  { bytes = 3 * MB, ...options }: Partial<FtpsOptions> & { readonly bytes?: number } = {},
): Promise<{ server: ScriptedFtps; error?: UploadErrorCode; ms: number }> {
  const dir = await Deno.makeTempDir({ prefix: "pixl-strange-" });
  const begun = performance.now();
  await using server = new ScriptedFtps(script);
  try {
    await Deno.writeFile(`${dir}/x.zip`, randomBytes(bytes));
    const error = await (async () => {
      await using destination = await FtpsDestination.open({
        host: "localhost",
        port: server.port,
        user: "dsh",
        password: "PWSEED",
        mode: "implicit",
        caPem: sharedPki().caPem,
        timeoutMs: 1_000,
        attempts: 1,
        retryDelayMs: 0,
        ...options,
      });
      await destination.put(`${dir}/x.zip`, "study.zip");
    })().then(() => undefined, (error) => error);
    return {
      server,
      ms: performance.now() - begun,
      ...(error === undefined ? {} : { error: error.code ?? String(error) }),
    };
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

// Small ones go in one piece.
for (const bytes of [3 * MB, 100_000]) {
  const whole = [undefined, new Map([["study.zip", bytes]])];

  Deno.test(`put() of ${bytes} bytes to a plain server of the kind that the others below are not`, async () => {
    const { server, error } = await put({}, { bytes });

    assertEquals([error, server.files], whole);
  });

  Deno.test(`put() of ${bytes} bytes waits for the end of the data if 226 comes before it`, async () => {
    const { server, error } = await put({
      async store(say, data) {
        await say("150 Go ahead\r\n226 Done");
        return await new Response(data.readable).bytes();
      },
    }, { bytes });

    assertEquals([error, server.files], whole);
  });

  Deno.test(`put() of ${bytes} bytes sends them once if it is told twice to go ahead`, async () => {
    const { server, error } = await put({
      async store(say, data) {
        await say("125 Go ahead\r\n150 Go ahead");
        const received = await new Response(data.readable).bytes();
        await say("226 Done");
        return received;
      },
    }, { bytes });

    assertEquals([error, server.files], whole);
  });

  Deno.test(`put() of ${bytes} bytes does not believe a 226 for a part of the data`, async () => {
    const { server, error } = await put({
      async store(say, data) {
        await say("150 Go ahead");
        const some = new Uint8Array(1_000);
        await data.read(some);
        await say("226 Done");
        return some;
      },
    }, { bytes });

    assert(error === "verification-failed" || error === "interrupted" || error === "session-reuse", error);
    assertEquals(server.heard.includes("RNTO"), false);
    assertEquals(server.files.has("study.zip"), false);
  });

  for (const answer of ["426 Broken off", "451 Failed"]) {
    Deno.test(`put() of ${bytes} bytes is told '${answer}' after all of them, and tries again`, async () => {
      let attempts = 0;
      const { server, error } = await put({
        async store(say, data) {
          await say("150 Go ahead");
          const received = await new Response(data.readable).bytes();
          await say(++attempts === 1 ? answer : "226 Done");
          return received;
        },
      }, { bytes, attempts: 2 });

      assertEquals([error, server.files], whole);
      assertEquals(attempts, 2);
    });
  }

  Deno.test(`put() of ${bytes} bytes gives up on a server that has all of them and does not say so`, async () => {
    const { server, error } = await deadline(
      put({
        async store(say, data) {
          await say("150 Go ahead");
          const received = await new Response(data.readable).bytes();
          await delay(2_500);
          return received;
        },
      }, { bytes }),
      10_000,
    );

    assertEquals([error, server.heard.includes("RNTO")], ["timeout", false]);
  });

  Deno.test(`put() of ${bytes} bytes gives up on a server that says to go ahead and then nothing on the data connection`, async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { server, error, ms } = await deadline(
      put({
        passive: () => `229 Extended (|||${listener.addr.port}|)`,
        answer: (command) => command === "STOR" ? "150 Go ahead" : undefined,
      }, { bytes }),
      10_000,
    );

    assertEquals([error, server.heard.includes("RNTO")], ["timeout", false]);
    assertLess(ms, 3_000); // one clock of a second, and the login
  });

  Deno.test(`put() of ${bytes} bytes sends nothing over a data connection to whom nobody has vouched for`, async () => {
    const { certPem, keyPem } = makePki({ hosts: ["localhost", "127.0.0.1"] });
    using listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert: certPem, key: keyPem });
    let heard = 0;
    const listening = (async () => {
      using connection = await listener.accept();
      heard = (await new Response(connection.readable).bytes().catch(() => new Uint8Array())).length;
    })().catch(() => {});

    const { server, error } = await put({
      passive: () => `229 Extended (|||${listener.addr.port}|)`,
      answer: (command) => command === "STOR" ? "150 Go ahead" : undefined,
    }, { bytes });

    await listening;
    assertEquals([error, heard, server.heard.includes("RNTO")], ["untrusted-certificate", 0, false]);
  });

  Deno.test(`put() of ${bytes} bytes is told that they have arrived before it is told to go ahead`, async () => {
    const { server, error } = await put({
      async store(say, data) {
        await say("226 Done\r\n150 Go ahead");
        return await new Response(data.readable).bytes();
      },
    }, { bytes });

    assertEquals([error, server.files], whole);
  });

  Deno.test(`put() of ${bytes} bytes gives up on a server that wants more than the file`, async () => {
    const { server, error } = await put({
      answer: (command) => command === "STOR" ? "350 And now?" : undefined,
    }, { bytes });

    assertEquals([error, server.files], ["protocol", new Map()]);
  });
}

for (const command of ["FEAT", "SIZE", "STOR"]) {
  Deno.test(`put() gives up on an endless answer to ${command}`, async () => {
    const { server, ms } = await put({
      answer: (name) => name === command ? `211-${"x".repeat(200)}\r\n`.repeat(100_000) : undefined,
    });

    assertLess(ms, 10_000);
    assertEquals(server.files.has("study.zip"), false);
  });
}

Deno.test("put() reads answers of many lines, with others' codes in them", async () => {
  const { server, error } = await put({
    greeting: "220-Welcome\r\n550 is not an answer here\r\n 221 nor this\r\n220 Ready",
    answer: (command) => command === "PASS" ? "230-Read the rules\r\n530- of this server\r\n230 Welcome" : undefined,
  });

  assertEquals([error, server.files], [undefined, new Map([["study.zip", 3 * MB]])]);
});

Deno.test("put() does not connect to another host where PASV points", async () => {
  const { server, error } = await put({
    passive: (command, port) =>
      command === "EPSV" ? "502 Not here" : `227 Passive (203,0,113,1,${port >> 8},${port & 255})`,
  });

  assertEquals([error, server.heard.includes("STOR")], ["protocol", false]);
});

Deno.test("put() takes PASV where there is no EPSV", async () => {
  const { server, error } = await put({ passive: (command) => command === "EPSV" ? "502 Not here" : undefined });

  assertEquals([error, server.files], [undefined, new Map([["study.zip", 3 * MB]])]);
});

Deno.test("put() does not rename if the size is not known", async () => {
  for (const answer of ["213 many", "213 -1", "502 Not here"]) {
    const { server, error } = await put({ answer: (command) => command === "SIZE" ? answer : undefined });

    assert(error !== undefined);
    assertEquals(server.heard.includes("RNTO"), false);
  }
});

for (const command of ["RNFR", "RNTO"]) {
  Deno.test(`put() says that ${command} is refused, and leaves nothing there`, async () => {
    const { server, error } = await put({
      answer: (name) => name === command ? "550 Permission denied" : undefined,
    });

    assertEquals([error, server.files], ["permission-denied", new Map()]);
  });
}

Deno.test("put() does not rename if another file has the name by then", async () => {
  let asked = 0;
  const { server, error } = await put({
    answer: (command, name) => command === "SIZE" && name === "/study.zip" && ++asked === 2 ? "213 5" : undefined,
  });

  assertEquals([error, server.files, server.heard.includes("RNTO")], ["exists-different", new Map(), false]);
});

Deno.test("put() does not believe a rename after which the file has another size", async () => {
  let renamed = false;
  const { error } = await put({
    answer(command) {
      if (command === "RNTO") renamed = true;
      return command === "SIZE" && renamed ? "213 5" : undefined;
    },
  });

  assertEquals([error, renamed], ["verification-failed", true]);
});

Deno.test("put() sends one command at a time after a server has lost those that came together", async () => {
  const { server, error } = await put({ deafMeanwhile: true }, { attempts: 2 });

  assertEquals([error, server.files], [undefined, new Map([["study.zip", 3 * MB]])]);
});

for (
  const [answer, code] of [
    ["550 Permission denied", "permission-denied"],
    ["450 Busy, try later", "interrupted"],
    ["421 Shutting down", "interrupted"],
    ["530 Please log in", "login-refused"],
    ["500 What?", "protocol"],
  ] as const
) {
  for (const where of ["/", "/project"]) {
    // A 550 for the folder itself may only mean that it is missing.
    if (where === "/project" && code === "permission-denied") continue;
    Deno.test(`list() does not take '${answer}' to CWD ${where} for an empty folder`, async () => {
      await using server = new ScriptedFtps({
        answer: (command, argument) => command === "CWD" && argument === where ? answer : undefined,
      });
      await using destination = await FtpsDestination.open({
        host: "localhost",
        port: server.port,
        user: "dsh",
        password: "PWSEED",
        mode: "implicit",
        caPem: sharedPki().caPem,
        timeoutMs: 1_000,
        attempts: 1,
      });

      await assertFails(code, () => destination.list("project"));
    });
  }
}

Deno.test("FtpsDestination.open() refuses a server that answers to nothing but in clear", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const connection of listener) {
      await connection.write(new TextEncoder().encode("220 Ready\r\n")).catch(() => {});
      connection.close();
    }
  })();

  for (const mode of ["implicit", "explicit"] as const) {
    await assertFails(mode === "implicit" ? "protocol" : "interrupted", () =>
      FtpsDestination.open({
        host: "localhost",
        port: listener.addr.port,
        user: "dsh",
        password: "PWSEED",
        mode,
        caPem: sharedPki().caPem,
        timeoutMs: 1_000,
      }));
  }

  listener.close();
  await serving;
});
