import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { Client, FTPError } from "basic-ftp";
import { FtpsReceiver } from "../../src/demo/ftps_receiver/mod.ts";
import { FtpsDestination, FtpsPool } from "../../src/upload/mod.ts";
import type { FtpsServer } from "../support/ftps.ts";
import { assertSameBytes, randomBytes } from "../upload/workbench.ts";
import { pathOf, testWith } from "../support/programs.ts";
import { startReceiver } from "../support/receiver.ts";

const MODES = ["implicit", "explicit"] as const;

/** Runs a client program in a folder of its own, in which `ca.pem`, `in.bin` and what it makes lie. */
async function withClient(
  program: "curl" | "lftp",
  server: FtpsServer,
  run: (
    client: { dir: string; content: Uint8Array<ArrayBuffer>; call(...args: string[]): Promise<string> },
  ) => Promise<void>,
): Promise<void> {
  const path = pathOf(program);
  const dir = await Deno.makeTempDir({ prefix: `pixl-${program}-` });
  const content = randomBytes(5 << 20);
  await Deno.writeTextFile(`${dir}/ca.pem`, server.caPem);
  await Deno.writeFile(`${dir}/in.bin`, content);
  try {
    await run({
      dir,
      content,
      async call(...args) {
        const { success, stdout, stderr } = await new Deno.Command(path, { args, cwd: dir, env: { HOME: dir } })
          .output();
        assert(success, new TextDecoder().decode(stderr));
        return new TextDecoder().decode(stdout);
      },
    });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** A connection on which one writes commands by hand. */
class Telnet implements AsyncDisposable {
  #heard = "";
  private constructor(private readonly connection: Deno.Conn) {}

  static async tls(server: FtpsServer): Promise<Telnet> {
    const { host: hostname, port, caPem } = server;
    return await new Telnet(await Deno.connectTls({ hostname, port, caCerts: [caPem] })).#greeted();
  }

  static async plain(server: FtpsServer): Promise<Telnet> {
    return await new Telnet(await Deno.connect({ hostname: server.host, port: server.port })).#greeted();
  }

  static async loggedIn(server: FtpsServer): Promise<Telnet> {
    const telnet = await Telnet.tls(server);
    await telnet.say(`USER ${server.user}`);
    assertMatch(await telnet.say(`PASS ${server.password}`), /^230 /);
    return telnet;
  }

  /** Sends a line and gives the last line of the reply, the empty text if the connection ends. */
  async say(line: string): Promise<string> {
    await this.connection.write(new TextEncoder().encode(`${line}\r\n`)).catch(() => {});
    return await this.#reply();
  }

  // deno-lint-ignore require-await -- the interface is asynchronous
  async [Symbol.asyncDispose](): Promise<void> {
    this.connection.close();
  }

  async #greeted(): Promise<Telnet> {
    assertMatch(await this.#reply(), /^220 /);
    return this;
  }

  async #reply(): Promise<string> {
    const bytes = new Uint8Array(4_096);
    for (;;) {
      const [all, reply] = /^(?:.*\r\n)*?(\d{3} .*)\r\n/.exec(this.#heard) ?? [];
      if (all !== undefined && reply !== undefined) {
        this.#heard = this.#heard.slice(all.length);
        return reply;
      }
      const read = await this.connection.read(bytes).catch(() => null);
      if (read === null) return "";
      this.#heard += new TextDecoder().decode(bytes.subarray(0, read));
    }
  }
}

for (const mode of MODES) {
  testWith("curl", `FtpsReceiver serves curl, ${mode} TLS`, async () => {
    // curl turns session tickets off, and Deno's TLS server resumes by nothing else.
    await using server = await startReceiver({ mode, reuse: false });
    await withClient("curl", server, async ({ dir, content, call }) => {
      const base = `${mode === "implicit" ? "ftps" : "ftp"}://localhost:${server.port}`;
      const common = [
        "-sS",
        "--max-time",
        "20",
        "--ssl-reqd",
        "--cacert",
        "ca.pem",
        "-u",
        `${server.user}:${server.password}`,
      ];

      await call(...common, "--ftp-create-dirs", "-T", "in.bin", `${base}/a%20b/c/out.bin`);
      await call(...common, `${base}/a%20b/c/out.bin`, "-o", "back.bin");
      const listing = await call(...common, `${base}/a%20b/c/`);
      await call(...common, "-C", "1000", `${base}/a%20b/c/out.bin`, "-o", "tail.bin");

      await assertSameBytes(await Deno.readFile(`${server.files}/a b/c/out.bin`), content);
      await assertSameBytes(await Deno.readFile(`${dir}/back.bin`), content);
      assertMatch(listing, /^total 0\r?\n-rw-------.* 5242880 \w{3} \d\d {2}\d{4} out\.bin\r?\n$/);
      await assertSameBytes((await Deno.readFile(`${dir}/tail.bin`)).slice(-5_000_000), content.slice(-5_000_000));
      assertEquals(((await Deno.stat(`${server.files}/a b/c/out.bin`)).mode ?? 0) & 0o777, 0o600);
    });
  });

  testWith("lftp", `FtpsReceiver serves lftp, ${mode} TLS`, async () => {
    await using server = await startReceiver({ mode });
    await withClient("lftp", server, async ({ dir, content, call }) => {
      const settings = "set ssl:ca-file ca.pem; set ssl:verify-certificate yes; set ftp:ssl-force yes; " +
        "set ftp:ssl-protect-data yes; set ftp:ssl-protect-list yes; set net:max-retries 1; set net:timeout 5; " +
        "set cmd:fail-exit yes; set xfer:use-temp-file yes; ";
      const where = `${mode === "implicit" ? "ftps" : "ftp"}://localhost:${server.port}`;
      const open = `open -u ${server.user},${server.password} ${where}; `;
      await Deno.writeFile(`${server.files}/half.bin`, content.slice(0, 1_000_000));

      const listing = await call(
        "-c",
        `${settings}${open}mkdir -p "a b/c"; put in.bin -o "a b/c/out.bin"; get "a b/c/out.bin" -o back.bin; ` +
          `put -c in.bin -o half.bin; mv half.bin "a b/whole.bin"; cls -l "a b"`,
      );

      await assertSameBytes(await Deno.readFile(`${server.files}/a b/c/out.bin`), content);
      await assertSameBytes(await Deno.readFile(`${dir}/back.bin`), content);
      await assertSameBytes(await Deno.readFile(`${server.files}/a b/whole.bin`), content);
      assertStringIncludes(listing, "whole.bin");
    });
  });

  Deno.test(`FtpsReceiver refuses a data connection that does not resume the session, ${mode} TLS`, async () => {
    await using server = await startReceiver({ mode });
    // Sets the trusted authority; the client below is given it once more, which makes Deno negotiate every session anew.
    await using _trusting = await FtpsDestination.open(server);
    const client = new Client(5_000);
    try {
      await client.access({
        ...server,
        secure: mode === "implicit" ? "implicit" : true,
        secureOptions: { host: server.host, port: server.port, ca: server.caPem },
      });

      const error = await assertRejects(() => client.list(), FTPError);

      assertEquals(error.code, 522);
      assertStringIncludes(error.message, "session reuse required");
    } finally {
      client.close();
    }
  });
}

Deno.test("FtpsReceiver lets nobody in without TLS", async () => {
  await using server = await startReceiver({ mode: "explicit" });
  await using telnet = await Telnet.plain(server);

  for (const line of [`USER ${server.user}`, `PASS ${server.password}`, "LIST", "PROT P", "STOR x"]) {
    assertMatch(await telnet.say(line), /^530 /);
  }
  assertMatch(await telnet.say("AUTH KERBEROS"), /^504 /);
});

Deno.test("FtpsReceiver drops what was sent in clear after AUTH TLS", async () => {
  await using server = await startReceiver({ mode: "explicit" });
  const connection = await Deno.connect({ hostname: server.host, port: server.port });
  const bytes = new Uint8Array(4_096);
  await connection.read(bytes);
  await connection.write(new TextEncoder().encode("AUTH TLS\r\nNOOP\r\n"));
  const read = await connection.read(bytes) ?? 0;
  assertMatch(new TextDecoder().decode(bytes.subarray(0, read)), /^234 .*\r\n$/);
  const tls = await Deno.startTls(connection, { hostname: server.host, caCerts: [server.caPem] });
  await tls.write(new TextEncoder().encode("SYST\r\n"));

  const answer = await tls.read(bytes) ?? 0;
  tls.close();

  assertEquals(new TextDecoder().decode(bytes.subarray(0, answer)), "215 UNIX Type: L8\r\n");
});

Deno.test("FtpsReceiver wants the password, and ends the connection after three wrong ones", async () => {
  await using server = await startReceiver({ mode: "implicit" });
  await using telnet = await Telnet.tls(server);
  assertMatch(await telnet.say("PWD"), /^530 /);
  await telnet.say(`USER ${server.user}`);
  for (let attempt = 0; attempt < 3; attempt++) assertMatch(await telnet.say("PASS wrong"), /^530 /);

  assertEquals(await telnet.say(`PASS ${server.password}`), "");
});

Deno.test("FtpsReceiver transfers nothing without PROT P", async () => {
  await using server = await startReceiver({ mode: "implicit" });
  await using telnet = await Telnet.loggedIn(server);

  assertMatch(await telnet.say("PROT C"), /^536 /);
  assertMatch(await telnet.say("EPSV"), /^229 /);
  assertMatch(await telnet.say("STOR x"), /^521 /);
});

Deno.test("FtpsReceiver keeps everything below its root", async () => {
  await using server = await startReceiver({ mode: "implicit" });
  const outside = await Deno.makeTempDir({ prefix: "pixl-outside-" });
  try {
    await Deno.writeTextFile(`${outside}/secret`, "x");
    await Deno.symlink(outside, `${server.files}/way-out`);
    await Deno.symlink(`${outside}/secret`, `${server.files}/link`);
    await using telnet = await Telnet.loggedIn(server);

    assertMatch(await telnet.say("CWD ../../.."), /^250 /);
    assertEquals(await telnet.say("PWD"), '257 "/"');
    for (
      const line of [
        `SIZE ../../../../../..${outside}/secret`,
        `SIZE ${outside}/secret`,
        "SIZE way-out/secret",
        "CWD way-out",
        "SIZE link",
        "DELE link",
        "MKD way-out/made",
        "RNFR way-out/secret",
        "DELE way-out/secret",
      ]
    ) assertMatch(await telnet.say(line), /^550 /);
    assertMatch(await telnet.say("MKD a\\b"), /^553 /);
    assertEquals((await Array.fromAsync(Deno.readDir(outside))).map((entry) => entry.name), ["secret"]);
  } finally {
    await Deno.remove(outside, { recursive: true });
  }
});

Deno.test("FtpsReceiver survives nonsense and ends connections that send endless lines", async () => {
  await using server = await startReceiver({ mode: "implicit" });
  {
    await using telnet = await Telnet.loggedIn(server);
    for (
      const line of [
        "",
        " ",
        "ÿÿÿ",
        "FEATX",
        "constructor",
        "REST x",
        "RNTO x",
        "STOR",
        "TYPE",
        "SIZE \u0000",
        "MLSD nowhere",
      ]
    ) {
      assertMatch(await telnet.say(line), /^[245]\d\d /);
    }
    assertMatch(await telnet.say("x".repeat(9_000)), /^500 /);
    assertEquals(await telnet.say("NOOP"), "");
  }
  await using again = await Telnet.loggedIn(server);
  assertMatch(await again.say("FEAT"), /^211 End/);
});

Deno.test("FtpsReceiver ends while clients are connected and transfers are on their way", async () => {
  const server = await startReceiver({ mode: "implicit" });
  await using idle = await Telnet.loggedIn(server);
  await using busy = await Telnet.loggedIn(server);
  await busy.say("PROT P");
  await busy.say("EPSV");
  assertMatch(await busy.say("STOR x"), /^150 /);

  await server[Symbol.asyncDispose]();

  assertEquals(await idle.say("NOOP"), "");
});

Deno.test("FtpsReceiver.listen() rejects a missing folder and a taken port", async () => {
  await using server = await startReceiver({ mode: "implicit" });
  const { certPem, keyPem } = (await import("../support/pki.ts")).sharedPki();
  const options = { user: "a", password: "PWSEED", certPem, keyPem, mode: "implicit" } as const;

  await assertRejects(() => FtpsReceiver.listen({ ...options, root: `${server.files}/nowhere` }));
  await assertRejects(() => FtpsReceiver.listen({ ...options, root: server.files, port: server.port }));
});

Deno.test("FtpsReceiver notices the end of every file, whatever came together with it", async () => {
  await using server = await startReceiver({ mode: "explicit" });
  const dir = await Deno.makeTempDir({ prefix: "pixl-many-" });
  const sizes = [100_000, 300_000, 1_000_000];
  for (const size of sizes) await Deno.writeFile(`${dir}/${size}`, new Uint8Array(size));
  {
    await using pool = await FtpsPool.open({ ...server, connections: 6, attempts: 1, timeoutMs: 10_000 });

    await Promise.all(Array.from({ length: 300 }, (_, at) => pool.put(`${dir}/${sizes[at % 3]}`, `${at % 6}/${at}`)));
  }
  await Deno.remove(dir, { recursive: true });
});
