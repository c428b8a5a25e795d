import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { type Database, DatabaseError, migrate, openDatabase } from "@pixl/core/database";
import { PostgresBroker } from "@pixl/core/queue";
import { MIGRATIONS } from "../../src/database/migrations/list.ts";
import { embeddedTest } from "../support/databases.ts";
import { newEmbedded } from "../support/embedded.ts";

const ROOT = new URL("../..", import.meta.url).pathname;

function test(name: string, run: (dir: string) => Promise<void>): void {
  embeddedTest(name, async () => {
    const dir = await Deno.makeTempDir({ prefix: "pixl-embedded-" });
    try {
      await run(dir);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}

function open(dir: string): Promise<Database> {
  return openDatabase({ kind: "embedded", dir });
}

/** A program of its own, in a process of its own. */
async function child(dir: string, program: string, flags: string[]): Promise<Deno.ChildProcess> {
  const file = `${dir}/child.ts`;
  await Deno.writeTextFile(
    file,
    `import { migrate, openDatabase } from "@pixl/core/database";\nconst dir = Deno.args[0] ?? "";\n${program}`,
  );
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--no-prompt", "--config", `${ROOT}deno.json`, ...flags, file, `${dir}/db`],
    cwd: ROOT,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Calls back for each line until it says enough. */
async function readLines(process: Deno.ChildProcess, enough: (line: string) => boolean): Promise<string[]> {
  const lines: string[] = [];
  let rest = "";
  for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
    if (parts.some(enough)) break;
  }
  return lines;
}

test("openDatabase() makes a folder for its owner only, and finds the data again", async (dir) => {
  for (const expected of [[], [{ n: 1 }]]) {
    await using database = await open(`${dir}/db`);
    await database.sql`create table if not exists kept (n int)`;
    assertEquals([...await database.sql<{ n: number }[]>`select n from kept`], expected);
    await database.sql`insert into kept values (1)`;
  }
  assertEquals(((await Deno.stat(`${dir}/db`)).mode ?? 0) & 0o777, 0o700);
  assertEquals(((await Deno.stat(`${dir}/db/data`)).mode ?? 0) & 0o777, 0o700);
});

test("openDatabase() refuses a folder in use, naming the process", async (dir) => {
  await using _first = await open(await newEmbedded(dir));
  const error = await assertRejects(() => open(dir), DatabaseError, `'${dir}': process ${Deno.pid} uses it`);
  assertEquals([error.code, error.kind], ["database-locked", "unavailable"]);
});

test("openDatabase() refuses a folder that another process uses, and takes it when that is killed", async (dir) => {
  const program = `
    await using database = await openDatabase({ kind: "embedded", dir });
    console.log("open");
    await new Promise((resolve) => setTimeout(resolve, 60_000));`;
  await newEmbedded(`${dir}/db`);
  const other = await child(dir, program, ["-A"]);
  const errors = other.stderr.cancel();
  await readLines(other, (line) => line === "open");
  await assertRejects(() => open(`${dir}/db`), DatabaseError, `process ${other.pid} uses it`);
  other.kill("SIGKILL");
  await other.status;
  await errors;
  await using database = await open(`${dir}/db`);
  assertEquals((await database.sql`select 1`).length, 1);
});

test("openDatabase() refuses a folder that cannot be one, and frees nothing of it", async (dir) => {
  await Deno.writeTextFile(`${dir}/file`, "");
  const error = await assertRejects(() => open(`${dir}/file/db`), DatabaseError, `'${dir}/file/db'`);
  assertEquals([error.code, error.kind], ["database-refused", "refused"]);
});

test("openDatabase() refuses a folder whose data is none, and lets go of it", async (dir) => {
  await Deno.mkdir(`${dir}/data`);
  await Deno.writeTextFile(`${dir}/data/PG_VERSION`, "nonsense");
  for (let i = 0; i < 2; i++) {
    const error = await assertRejects(() => open(dir), DatabaseError, dir);
    assertEquals(error.code, "database-failed");
  }
});

test("openDatabase() rejects with the reason of its signal", async (dir) => {
  const reason = new Error("stop");
  const controller = new AbortController();
  const opening = openDatabase({ kind: "embedded", dir }, { signal: controller.signal });
  controller.abort(reason);
  assertEquals(await assertRejects(() => opening), reason);
  await using _database = await open(dir);
});

Deno.test("openDatabase() refuses what is neither a server nor embedded, and makes no folder", async () => {
  const options = { host: "localhost" } as unknown as Parameters<typeof openDatabase>[0];
  await assertRejects(() => openDatabase(options), RangeError, "current value is undefined");
});

test("openDatabase() needs no permission but the folder", async (dir) => {
  const program = `
    await using database = await openDatabase({ kind: "embedded", dir });
    await migrate(database);
    console.log((await database.sql\`select count(*) as n from pixl_pipeline.migration\`)[0].n);`;
  await Deno.mkdir(`${dir}/db`);
  const allowed = [`--allow-read=${dir}/db`, `--allow-write=${dir}/db`, "--ignore-env"];
  const { stdout, stderr } = await (await child(dir, program, allowed)).output();
  assertEquals(new TextDecoder().decode(stdout).trim(), String(MIGRATIONS.length), new TextDecoder().decode(stderr));

  const refused = await (await child(dir, program, [`--allow-read=${dir}/db`, "--ignore-env"])).output();
  assertStringIncludes(new TextDecoder().decode(refused.stderr), "it must be readable and writable");
});

test("Database: closing waits, frees the folder, and twice is harmless", async (dir) => {
  const database = await open(await newEmbedded(dir));
  await database.sql`create table kept (n int)`;
  const inserts = Promise.all(Array.from({ length: 50 }, (_, n) => database.sql`insert into kept values (${n})`));
  await inserts;
  await Promise.all([database[Symbol.asyncDispose](), database[Symbol.asyncDispose]()]);
  await assertRejects(async () => await database.sql`select 1`);
  await using again = await open(dir);
  assertEquals([...await again.sql`select count(*) as n from kept`], [{ n: 50 }]);
});

test("Database.sql serves plain queries and transactions at once without mixing them", async (dir) => {
  await using database = await open(await newEmbedded(dir));
  const { sql } = database;
  await sql`create table account (id int primary key, amount int not null)`;
  await sql`insert into account select n, 100 from generate_series(1, 4) n`;
  const end = performance.now() + 2_000;
  let [queries, transactions, undone] = [0, 0, 0];
  await Promise.all(Array.from({ length: 12 }, async (_, worker) => {
    for (let i = 0; performance.now() < end; i++) {
      const text = `${worker}/${i} ${"x".repeat(i % 3_000)}`;
      if (worker % 3 > 0) {
        // New texts of statements too, so that descriptions and executions interleave.
        const [row] = i % 5 === 0
          ? await sql.unsafe<{ text: string }[]>(`select $1::text as text /* ${worker}-${i} */`, [text], {
            prepare: true,
          })
          : await sql<{ text: string }[]>`select ${text}::text as text`;
        assertEquals(row?.text, text);
        queries++;
        continue;
      }
      const undo = new Error("undo");
      const transfer = sql.begin(async (tx) => {
        await tx`update account set amount = amount - 1 where id = ${1 + i % 4}`;
        const [{ total } = { total: 0 }] = await tx<{ total: number }[]>`select sum(amount)::int as total from account`;
        assertEquals(total, 399);
        await tx`update account set amount = amount + 1 where id = ${1 + (i + 1) % 4}`;
        if (i % 4 === 0) throw undo;
      });
      if (i % 4 === 0) undone += Number(await assertRejects(() => transfer) === undo);
      else await transfer;
      transactions++;
    }
  }));
  assertGreater(queries, 100);
  assertGreater(transactions, 50);
  assertGreater(undone, 10);
  assertEquals([...await sql`select sum(amount)::int as total from account`], [{ total: 400 }]);
});

test("Database.sql goes on after errors of all kinds", async (dir) => {
  await using database = await open(await newEmbedded(dir));
  const { sql } = database;
  for (let i = 0; i < 5; i++) {
    await assertRejects(async () => await sql`select 1 / ${0}::int`);
    await assertRejects(async () => await sql`selec`);
    await assertRejects(async () => await sql`select ${"x"}::int`);
    await assertRejects(async () => await sql.unsafe("select 1; select 1 / 0; select 2"));
    await assertRejects(() => sql.begin(async (tx) => await tx`select 1 / 0`));
    await assertRejects(() => sql.begin(() => Promise.reject(new Error("undo"))));
    assertEquals([...await sql`select ${i}::int as i`], [{ i }]);
  }
  const seen: number[] = [];
  for await (const rows of sql<{ n: number }[]>`select n from generate_series(1, 100) n`.cursor(7)) {
    seen.push(...rows.map(({ n }) => n));
    if (seen.length > 50) break;
  }
  assertEquals(seen.length, 56);
  assertEquals((await sql`select repeat('x', 5000000) as x`)[0]?.x.length, 5_000_000);
});

test("a killed process loses nothing that was confirmed, wherever it was", async (dir) => {
  const program = `
    await using database = await openDatabase({ kind: "embedded", dir });
    await migrate(database);
    await database.sql\`create table if not exists kept (n bigint primary key)\`;
    const [{ from }] = await database.sql\`select coalesce(max(n), 0) as from from kept\`;
    for (let n = from + 1;; n++) {
      await database.sql.begin(async (sql) => {
        await sql\`insert into kept values (\${n})\`;
      });
      console.log(n);
    }`;
  let confirmed = 0;
  for (const lines of [0, 1, 40, 400]) {
    const writer = await child(dir, program, ["-A"]);
    const errors = writer.stderr.cancel();
    if (lines === 0) {
      // While it makes the database.
      const deadline = performance.now() + 30_000;
      while (!await exists(`${dir}/db/data/base`)) assert(performance.now() < deadline, "no database is made");
    } else {
      const enough = confirmed + lines;
      const printed = await readLines(writer, (line) => Number(line) >= enough);
      confirmed = Number(printed.at(-1));
    }
    writer.kill("SIGKILL");
    await writer.status;
    await errors;
    if (lines === 0) {
      await writer.stdout.cancel();
      continue;
    }
    await using database = await open(`${dir}/db`);
    const [row] = await database.sql<
      { kept: number; last: number }[]
    >`select count(*) as kept, max(n) as last from kept`;
    assert(row);
    assert(row.kept >= confirmed, `${row.kept} of ${confirmed} rows are left`);
    assertEquals(row.kept, row.last);
    confirmed = row.last;
  }
});

test("PostgresBroker: a killed consumer's messages come back, confirmed ones do not", async (dir) => {
  const program = `
    import { PostgresBroker } from "${ROOT}src/queue/postgres/postgres_broker.ts";
    await using database = await openDatabase({ kind: "embedded", dir });
    await using broker = new PostgresBroker(database.sql, { leaseMs: 2_000 });
    await using subscription = await broker.subscribe("q", { prefetch: 3 });
    for (;;) {
      const delivery = await subscription.next();
      if (Number(delivery.messageId) >= 20) await new Promise((resolve) => setTimeout(resolve, 60_000));
      await delivery.acknowledge();
      console.log(delivery.messageId);
    }`;
  {
    await using database = await open(await newEmbedded(`${dir}/db`));
    await migrate(database);
    await using broker = new PostgresBroker(database.sql);
    await broker.declare("q");
    await broker.publish("q", Array.from({ length: 30 }, (_, n) => ({ messageId: String(n), body: new Uint8Array() })));
  }
  const consumer = await child(dir, program, ["-A"]);
  const errors = consumer.stderr.cancel();
  await readLines(consumer, (line) => line === "19");
  consumer.kill("SIGKILL");
  await consumer.status;
  await errors;

  await using database = await open(`${dir}/db`);
  await using broker = new PostgresBroker(database.sql);
  await using subscription = await broker.subscribe("q");
  const found = new Map<string, number>();
  while (found.size < 10) {
    const delivery = await subscription.next();
    found.set(delivery.messageId, delivery.attempt);
    await delivery.acknowledge();
  }
  assertEquals([...found.keys()].sort(), Array.from({ length: 10 }, (_, n) => String(20 + n)));
  assertEquals(found.get("20"), 2);
  assertEquals(found.get("29"), 1);
  const { ready, delayed, inHand, dead } = await broker.depth("q");
  assertEquals({ ready, delayed, inHand, dead }, { ready: 0, delayed: 0, inHand: 0, dead: 0 });
});

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch {
    return false;
  }
}
