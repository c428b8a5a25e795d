import { assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { DatabaseError } from "@pixl/core/database";
import { readConfig } from "../../src/cli/config.ts";
import { ConfigError } from "../../src/cli/errors.ts";
import { openConfiguredDatabase, openRabbitmq } from "../../src/cli/open.ts";
import { makePki } from "../../src/demo/pki.ts";
import { isLoopback } from "../../src/loopback.ts";
import { pixl } from "../support/pixl.ts";
import { freshDatabase, type PostgresAddress, startPostgres } from "../support/postgres.ts";
import { testWith } from "../support/programs.ts";

/** Reaches this host, as Linux has it, and is no loopback address. */
const ELSEWHERE = "0.0.0.0";

const DATABASE = { PIXL_DB_USER: "pixl", PIXL_DB_PASSWORD: "PWSEED" };
const BROKER = { RABBITMQ_USERNAME: "pixl", RABBITMQ_PASSWORD: "PWSEED" };
const from = (settings: Readonly<Record<string, string>>) => (name: string) => settings[name];

function tlsOf(settings: Readonly<Record<string, string>>) {
  const config = readConfig(from({ ...DATABASE, ...BROKER, ...settings }), { database: true, broker: true });
  const { database, broker } = config;
  return [
    database.kind === "postgres" && database.tls,
    broker.kind === "rabbitmq" && broker.tls,
    broker.kind === "rabbitmq" && broker.port,
  ];
}

async function withFile(text: string, run: (path: string) => void | Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile({ suffix: ".pem" });
  try {
    await Deno.writeTextFile(path, text);
    await run(path);
  } finally {
    await Deno.remove(path);
  }
}

function environment(server: PostgresAddress, change: Readonly<Record<string, string>>): Record<string, string> {
  return {
    PIXL_DB_HOST: server.host,
    PIXL_DB_PORT: String(server.port),
    PIXL_DB_NAME: server.database,
    PIXL_DB_USER: server.user,
    PIXL_DB_PASSWORD: server.password,
    ...change,
  };
}

async function open(server: PostgresAddress, change: Readonly<Record<string, string>>): Promise<boolean> {
  const config = readConfig(from(environment(server, change)), { database: true });
  await using database = await openConfiguredDatabase(config, new AbortController().signal);
  const [row] = await database.sql<{ ssl: boolean }[]>`select ssl from pg_stat_ssl where pid = pg_backend_pid()`;
  return row?.ssl === true;
}

async function refuses(server: PostgresAddress, change: Readonly<Record<string, string>>): Promise<void> {
  const error = await assertRejects(() => open(server, change), DatabaseError, "certificate");
  assertEquals(error.code, "database-refused");
}

/** Takes connections, keeps the first bytes of each and hangs up. */
function listen() {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const first: Uint8Array[] = [];
  const done = (async () => {
    for await (const connection of listener) {
      const buffer = new Uint8Array(1_000);
      const length = await connection.read(buffer).catch(() => null);
      first.push(buffer.slice(0, length ?? 0));
      connection.close();
    }
  })();
  return {
    first,
    port: String(listener.addr.port),
    async [Symbol.asyncDispose]() {
      listener.close();
      await done;
    },
  };
}

Deno.test("isLoopback() knows this host's names and addresses, and no others", () => {
  for (const host of ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.255.0.9", "::1", "[::1]"]) {
    assertEquals(isLoopback(host), true, host);
  }
  for (
    const host of ["db", "localhost.example.org", "127.0.0.1.example.org", "127.evil.org", "0.0.0.0", "10.0.0.1", "::"]
  ) {
    assertEquals(isLoopback(host), false, host);
  }
});

Deno.test("readConfig() wants TLS for every host but this one", () => {
  assertEquals(tlsOf({ PIXL_DB_HOST: "localhost", RABBITMQ_HOST: "127.0.0.1" }), [false, false, 5672]);
  assertEquals(tlsOf({ PIXL_DB_HOST: "db", RABBITMQ_HOST: "rabbitmq" }), [{}, {}, 5671]);
  const off = { PIXL_DB_TLS: "off", RABBITMQ_TLS: "off" };
  assertEquals(tlsOf({ PIXL_DB_HOST: "db", RABBITMQ_HOST: "rabbitmq", ...off }), [false, false, 5672]);
  const on = { PIXL_DB_TLS: "verify", RABBITMQ_TLS: "verify" };
  assertEquals(tlsOf({ PIXL_DB_HOST: "localhost", RABBITMQ_HOST: "localhost", ...on }), [{}, {}, 5671]);
});

Deno.test("readConfig() takes an authority as a wish for TLS, which cannot be off too", async () => {
  await withFile(makePki({ hosts: ["db"] }).caPem, (file) => {
    const here = { PIXL_DB_HOST: "localhost", RABBITMQ_HOST: "localhost" };
    const ca = Deno.readTextFileSync(file);
    assertEquals(tlsOf({ ...here, PIXL_DB_CA_FILE: file, RABBITMQ_CA_FILE: file }), [{ ca }, { ca }, 5671]);
    const both = { ...here, PIXL_DB_CA_FILE: file, PIXL_DB_TLS: "off" };
    assertThrows(() => tlsOf(both), ConfigError, "PIXL_DB_TLS is off and PIXL_DB_CA_FILE is set");
    assertThrows(() => tlsOf({ ...here, RABBITMQ_TLS: "on" }), ConfigError, "RABBITMQ_TLS must be one of verify, off");
  });
});

Deno.test("readConfig() wants the database's authority where uploads have one, since a process trusts only that", async () => {
  await withFile(makePki({ hosts: ["dsh"] }).caPem, (file) => {
    const settings = {
      ...DATABASE,
      ...{ PIXL_DB_HOST: "db", FTP_HOST: "dsh", FTP_USER_NAME: "u", FTP_USER_PASSWORD: "PWSEED", FTP_CA_FILE: file },
    };
    const needs = { database: true, destination: true };
    assertThrows(() => readConfig(from(settings), needs), ConfigError, "PIXL_DB_CA_FILE is not");
    readConfig(from({ ...settings, PIXL_DB_CA_FILE: file }), needs);
  });
});

Deno.test("A service elsewhere is told nothing before it has shown a certificate", async () => {
  await using spy = listen();
  const server = { host: ELSEWHERE, port: Number(spy.port), database: "pixl", user: "pixl", password: "PWSEED" };
  await assertRejects(() => open(server, {}), DatabaseError);
  const settings = { ...DATABASE, ...BROKER, PIXL_DB_HOST: "db", RABBITMQ_HOST: ELSEWHERE, RABBITMQ_PORT: spy.port };
  const { broker } = readConfig(from(settings), { broker: true });
  if (broker.kind !== "rabbitmq") throw new Error(broker.kind);
  await assertRejects(() => openRabbitmq(broker, AbortSignal.timeout(10_000)));
  const [database, rabbitmq] = spy.first;
  // SSLRequest of PostgreSQL, and a handshake record of TLS (RFC 8446 section 5.1).
  assertEquals([...database ?? []], [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
  assertEquals(rabbitmq?.[0], 22);
});

testWith("postgresql", "PostgreSQL elsewhere without TLS is refused, unless PIXL_DB_TLS is off", async () => {
  await using server = await startPostgres();
  await refuses(server, { PIXL_DB_HOST: ELSEWHERE });
  assertEquals(await open(server, { PIXL_DB_HOST: ELSEWHERE, PIXL_DB_TLS: "off" }), false);
  assertEquals(await open(server, {}), false);
});

testWith(
  "postgresql",
  "PostgreSQL is taken only with a certificate of the named or the system's authorities, for its name, that has not expired",
  async () => {
    const pki = makePki({ hosts: ["localhost"] });
    await using server = await startPostgres({ pki });
    await withFile(pki.caPem, async (ca) => {
      assertEquals(await open(server, { PIXL_DB_HOST: "localhost", PIXL_DB_CA_FILE: ca }), true);
      await refuses(server, { PIXL_DB_HOST: ELSEWHERE, PIXL_DB_CA_FILE: ca });
      await refuses(server, { PIXL_DB_HOST: "localhost", PIXL_DB_TLS: "verify" });

      // What the system trusts is given to a process when it starts.
      const env = environment(server, { PIXL_DB_HOST: "localhost", PIXL_DB_TLS: "verify", DENO_CERT: ca });
      const { code, stderr } = await pixl(["migrate"], { env, cwd: Deno.cwd() });
      assertEquals(code, 0, stderr);
    });
    const old = makePki({ hosts: ["localhost"], days: 1, from: new Date(Date.now() - 3 * 86_400_000) });
    await using expired = await startPostgres({ pki: old });
    await withFile(old.caPem, (ca) => refuses(expired, { PIXL_DB_HOST: "localhost", PIXL_DB_CA_FILE: ca }));
  },
);

testWith("postgresql", "pixl warns where PIXL_DB_TLS is off towards another host", async () => {
  await using server = await startPostgres();
  await using options = await freshDatabase(server);
  const env = environment({ ...server, database: options.database }, { PIXL_DB_TLS: "off" });
  const elsewhere = await pixl(["migrate"], { env: { ...env, PIXL_DB_HOST: ELSEWHERE }, cwd: Deno.cwd() });
  assertEquals(elsewhere.code, 0, elsewhere.stderr);
  assertStringIncludes(elsewhere.stderr, "PIXL_DB_TLS is off");
  const here = await pixl(["migrate"], { env, cwd: Deno.cwd() });
  assertMatch(here.stderr, /^(?!.*PIXL_DB_TLS)/s);
});
