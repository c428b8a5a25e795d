import { assert, assertEquals, assertInstanceOf, assertLess, assertNotMatch, assertRejects } from "@std/assert";
import {
  type Database,
  DatabaseError,
  type DatabaseErrorCode,
  migrate,
  openDatabase,
  type PostgresOptions,
  SharedRate,
} from "@pixl/core/database";
import { makePki } from "../../src/demo/pki.ts";
import { freePort } from "../support/ports.ts";
import { freshDatabase, sharedPostgres, startPostgres } from "../support/postgres.ts";
import { testWith } from "../support/programs.ts";

const ownPostgresTest = (name: string, run: () => void | Promise<void>) =>
  testWith("postgresql", name, run, { own: true });

const pacs = (database: Database) => new SharedRate(database, "pacs", { rate: 5, capacity: 5 });

async function withServer(run: (options: PostgresOptions) => Promise<void>): Promise<void> {
  await using server = await sharedPostgres();
  await using options = await freshDatabase(server);
  await run(options);
}

async function opensWith(options: PostgresOptions, code: DatabaseErrorCode, text: string): Promise<DatabaseError> {
  const error = await assertRejects(
    async () => {
      await using _database = await openDatabase(options);
    },
    DatabaseError,
    text,
  );
  assertEquals(error.code, code);
  assertNotMatch(error.message, /SEED/);
  return error;
}

/** A server that does the same to every connection. */
function listen(onConnection: (connection: Deno.TcpConn) => void) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let connections = 0;
  const done = (async () => {
    for await (const connection of listener) {
      connections++;
      onConnection(connection);
    }
  })();
  return {
    port: listener.addr.port,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      listener.close();
      await done;
    },
  };
}

ownPostgresTest("openDatabase() names the address where nobody listens", async () => {
  await withServer(async (options) => {
    const port = freePort();
    const error = await opensWith({ ...options, port }, "database-unreachable", `127.0.0.1:${port}`);
    assertEquals(error.kind, "unavailable");
  });
});

ownPostgresTest("openDatabase() names the host that does not exist", async () => {
  await withServer(async (options) => {
    await opensWith({ ...options, host: "nowhere.invalid" }, "database-unreachable", "nowhere.invalid");
  });
});

ownPostgresTest("openDatabase() gives up a server that accepts and stays silent", async () => {
  const open: Deno.TcpConn[] = [];
  await using silent = listen((connection) => open.push(connection));
  await withServer(async (options) => {
    const start = performance.now();
    await opensWith({ ...options, port: silent.port, connectTimeoutMs: 300 }, "database-unreachable", `${silent.port}`);
    assertLess(performance.now() - start, 3_000);
  });
  for (const connection of open) connection.close();
});

ownPostgresTest("openDatabase() gives up a server that hangs up, after one connection", async () => {
  await using rude = listen((connection) => connection.close());
  await withServer(async (options) => {
    await opensWith({ ...options, port: rude.port }, "database-unreachable", `${rude.port}`);
    assertEquals(rude.connections(), 1);
  });
});

ownPostgresTest("openDatabase() tells a wrong password, user and database apart", async () => {
  await withServer(async (options) => {
    const refused = await opensWith({ ...options, password: "PWSEED" }, "database-refused", "as 'pixl'");
    assertEquals(refused.kind, "refused");
    await opensWith({ ...options, user: "nobody" }, "database-refused", "as 'nobody'");
    const missing = await opensWith({ ...options, database: "no_such" }, "database-missing", "'no_such'");
    assertEquals(missing.kind, "configuration");
  });
});

ownPostgresTest("openDatabase() rejects with the reason of its signal", async () => {
  const open: Deno.TcpConn[] = [];
  await using silent = listen((connection) => open.push(connection));
  await withServer(async (options) => {
    const reason = new Error("stop");
    const controller = new AbortController();
    const opening = openDatabase({ ...options, port: silent.port }, { signal: controller.signal });
    controller.abort(reason);
    assertEquals(await assertRejects(() => opening), reason);
    const aborted = { signal: AbortSignal.abort(reason) };
    assertEquals(await assertRejects(() => openDatabase(options, aborted)), reason);
  });
  for (const connection of open) connection.close();
});

testWith(
  "postgresql",
  "openDatabase() takes the server's certificate only from the given authority and for the given name",
  async () => {
    const pki = makePki({ hosts: ["127.0.0.1"] });
    await using server = await startPostgres({ pki });
    await using options = await freshDatabase(server);
    {
      await using database = await openDatabase({ ...options, tls: { ca: pki.caPem } });
      const [row] = await database.sql<{ ssl: boolean }[]>`select ssl from pg_stat_ssl where pid = pg_backend_pid()`;
      assertEquals(row?.ssl, true);
    }
    const other = makePki({ hosts: ["127.0.0.1"] }).caPem;
    await opensWith({ ...options, tls: { ca: other } }, "database-refused", "certificate");
    await opensWith({ ...options, tls: {} }, "database-refused", "certificate");
    await opensWith({ ...options, host: "localhost", tls: { ca: pki.caPem } }, "database-refused", "certificate");
  },
);

ownPostgresTest("openDatabase() does not fall back to no encryption", async () => {
  await withServer(async (options) => {
    await opensWith({ ...options, tls: {} }, "database-refused", "certificate");
  });
});

ownPostgresTest("openDatabase() heeds no PG variable of the environment", async () => {
  const stray = {
    PGSSL: "require",
    PGMAX: "0",
    PGDATABASE: "wrong",
    PGTARGETSESSIONATTRS: "standby",
    PGCONNECT_TIMEOUT: "0.001",
  };
  await withServer(async (options) => {
    const program = `
      import { openDatabase } from "@pixl/core/database";
      await using database = await openDatabase(${JSON.stringify(options)});
      const [row] = await database.sql\`select current_database() as name\`;
      console.log(row.name);`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-check", program],
      cwd: new URL("../..", import.meta.url).pathname,
      env: stray,
    });
    const { stdout, stderr } = await child.output();
    assertEquals(new TextDecoder().decode(stdout).trim(), options.database, new TextDecoder().decode(stderr));
  });
});

ownPostgresTest("Database.sql keeps dates, times and large numbers as they are", async () => {
  await withServer(async (options) => {
    await using database = await openDatabase(options);
    const [row] = await database.sql`
      select ${"2020-02-29"}::date as day, ${"2024-01-01T00:00:00.123456+01:00"}::timestamptz as instant,
        ${2 ** 53 - 1}::bigint as large`;
    assertEquals({ ...row }, {
      day: "2020-02-29",
      instant: "2023-12-31 23:00:00.123456+00",
      large: 2 ** 53 - 1,
    });
    await assertRejects(
      async () => await database.sql`select ${"9007199254740993"}::text::bigint as too_large`,
      RangeError,
    );
  });
});

ownPostgresTest("Database.sql ends a statement that takes too long, as busy", async () => {
  await withServer(async (options) => {
    await using database = await openDatabase({ ...options, statementTimeoutMs: 200 });
    await migrate(database);
    await using other = await openDatabase(options);
    await other.sql.begin(async (tx) => {
      await tx`lock table pixl_pipeline.rate_limit`;
      const error = await assertRejects(() => pacs(database).set({ rate: 1 }), DatabaseError);
      assertEquals([error.code, error.kind], ["database-busy", "unavailable"]);
    });
    await pacs(database).set({ rate: 1 });
  });
});

ownPostgresTest("Database.sql rejects rather than hangs when the server hangs, and recovers", async () => {
  await using server = await startPostgres();
  await using options = await freshDatabase(server);
  await using database = await openDatabase({ ...options, statementTimeoutMs: 100, connectTimeoutMs: 500 });
  await migrate(database);
  const calls = () => Promise.allSettled(Array.from({ length: 8 }, () => pacs(database).settings()));
  await calls();
  server.freeze();
  try {
    for (const result of await calls()) {
      assert(result.status === "rejected");
      assertInstanceOf(result.reason, DatabaseError);
      assertEquals(result.reason.code, "database-unreachable");
    }
  } finally {
    server.thaw();
  }
  const deadline = performance.now() + 5_000;
  while ((await calls()).some(({ status }) => status === "rejected")) assertLess(performance.now(), deadline);
});

ownPostgresTest(
  "Database.sql rejects what a crash interrupts, and recovers within a second of the restart",
  async () => {
    await using server = await startPostgres();
    await using options = await freshDatabase(server);
    await using database = await openDatabase(options);
    await migrate(database);
    await pacs(database).set({ rate: 0.5 });
    const interrupted = assertRejects(async () => await database.sql`select pg_sleep(20)`);
    const transaction = assertRejects(() => database.sql.begin(async (tx) => await tx`select pg_sleep(20)`));
    await database.sql`select 1`;
    await server.kill();
    await interrupted;
    await transaction;
    const down = await assertRejects(() => pacs(database).settings(), DatabaseError);
    assertEquals(down.code, "database-unreachable");
    await server.restart();
    const deadline = performance.now() + 1_000;
    let rate: number | undefined;
    while (rate === undefined && performance.now() < deadline) {
      rate = (await pacs(database).settings().catch(() => undefined))?.rate;
    }
    assertEquals(rate, 0.5);
  },
);

ownPostgresTest("Database: closing twice is harmless, and after it everything is refused", async () => {
  await withServer(async (options) => {
    const database = await openDatabase(options);
    await migrate(database);
    await Promise.all([database[Symbol.asyncDispose](), database[Symbol.asyncDispose]()]);
    await database[Symbol.asyncDispose]();
    const error = await assertRejects(() => pacs(database).settings(), DatabaseError);
    assertEquals(error.code, "database-closed");
  });
});

ownPostgresTest("Database: closing breaks off what does not end, and a pool that cannot connect", async () => {
  await using server = await startPostgres();
  await using options = await freshDatabase(server);
  const database = await openDatabase({ ...options, poolSize: 2 });
  const asleep = assertRejects(async () => await database.sql`select pg_sleep(25)`);
  await database.sql`select 1`;
  server.freeze();
  const start = performance.now();
  try {
    const waiting = assertRejects(async () => await Promise.all([1, 2, 3].map((n) => database.sql`select ${n}::int`)));
    await database[Symbol.asyncDispose]();
    await asleep;
    await waiting;
  } finally {
    server.thaw();
  }
  assertLess(performance.now() - start, 12_000);
});
