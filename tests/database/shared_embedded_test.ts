import { assert, assertEquals, assertGreater, assertRejects } from "@std/assert";
import { DatabaseError, migrate, openDatabase } from "@pixl/core/database";
import { embeddedTest } from "../support/databases.ts";
import { newEmbedded } from "../support/embedded.ts";
import { ROOT } from "../support/paths.ts";
import { until } from "../support/until.ts";

function test(name: string, run: (dir: string) => Promise<void>): void {
  embeddedTest(name, async () => {
    const dir = await Deno.makeTempDir({ prefix: "pixl-" });
    try {
      await newEmbedded(`${dir}/db`);
      await run(dir);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}

const open = (dir: string) => openDatabase({ kind: "embedded", dir, shared: true });

/** A process that shares a database and adds rows, one after the other, printing each that it was told is there. */
async function startWriter(dir: string, name: string, flags: readonly string[] = ["-A"]) {
  const file = `${dir}/writer.ts`;
  await Deno.writeTextFile(
    file,
    `
    import { openDatabase } from "@pixl/core/database";
    await using database = await openDatabase({ kind: "embedded", dir: ${JSON.stringify(`${dir}/db`)}, shared: true });
    for (let n = 0; ; n++) {
      try {
        await database.sql\`insert into row (name, n) values (\${Deno.args[0] ?? ""}, \${n})\`;
        Deno.stdout.writeSync(new TextEncoder().encode(n + "\\n"));
      } catch (error) {
        // Whether it was written is not known; the next one is told.
        if (!(error instanceof Error) || !("kind" in error || "code" in error)) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }`,
  );
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--no-prompt", "--config", `${ROOT}deno.json`, ...flags, file, name],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const written: number[] = [];
  const errors = new Response(child.stderr).text();
  const read = (async () => {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      written.push(...text.trim().split("\n").map(Number));
    }
  })();
  return {
    written,
    errors,
    pid: child.pid,
    async kill() {
      child.kill("SIGKILL");
      await Promise.all([child.status, read, errors]);
    },
  };
}

test("openDatabase() shares a folder among processes: the leader killed, the others go on and no row is lost", async (dir) => {
  const first = await startWriter(dir, "nobody");
  await until("the first leads", async () => await Deno.stat(`${dir}/db/run/socket`).then(() => true, () => false));
  {
    await using database = await open(`${dir}/db`);
    await database.sql`create table row (name text, n int)`;
    await until("the first writes", () => first.written.length > 5);
    const [second, third] = [await startWriter(dir, "second"), await startWriter(dir, "third")];
    await until("all write", () => second.written.length > 20 && third.written.length > 20);

    await first.kill();
    const before = [second.written.length, third.written.length];
    await until(
      "the others go on",
      () => second.written.length > (before[0] ?? 0) + 20 && third.written.length > (before[1] ?? 0) + 20,
    );
    await second.kill();
    await third.kill();

    for (const [name, { written }] of [["nobody", first], ["second", second], ["third", third]] as const) {
      const rows = await database.sql<{ n: number }[]>`select n from row where name = ${name} order by n`;
      const there = new Set(rows.map(({ n }) => n));
      assertEquals(written.filter((n) => !there.has(n)), [], name);
      assertGreater(written.length, 5);
    }
  }
});

test("openDatabase() of a shared folder: two in one process see each other's rows, and closing the leader hands over", async (dir) => {
  const first = await open(`${dir}/db`);
  await migrate(first);
  await using second = await open(`${dir}/db`);
  await Promise.all([migrate(first), migrate(second)]);
  await second.sql`insert into pixl_pipeline.queue (queue) values ('pacs')`;
  assertEquals((await first.sql`select queue from pixl_pipeline.queue`).length, 1);

  await first[Symbol.asyncDispose]();

  let rows = 0;
  await until("the second leads", async () => {
    rows = (await second.sql`select queue from pixl_pipeline.queue`.catch(() => [])).length;
    return rows > 0;
  });
  assertEquals(rows, 1);
});

test("openDatabase() does not wait for a leader that does not share, and names it", async (dir) => {
  const folder = `${dir}/db`;
  await using _alone = await openDatabase({ kind: "embedded", dir: folder });
  const start = performance.now();
  const error = await assertRejects(() => open(folder), DatabaseError, `process ${Deno.pid} uses it`);
  assertEquals(error.code, "database-locked");
  assert(performance.now() - start < 5_000);
});

test("openDatabase() of a shared folder keeps its socket where only the owner comes", async (dir) => {
  await using _database = await open(`${dir}/made`);
  for (const folder of [`${dir}/made`, `${dir}/made/run`]) {
    assertEquals(((await Deno.stat(folder)).mode ?? 0) & 0o777, 0o700, folder);
  }
});

test("openDatabase() of a shared folder needs no permission but the folder and its socket, and does without the socket", async (dir) => {
  const folder = `${dir}/db`;
  {
    await using database = await open(folder);
    await database.sql`create table row (name text, n int)`;
  }
  const flags = [`--allow-read=${folder}`, `--allow-write=${folder}`, "--ignore-env"];
  for (const net of [[`--allow-net=unix:${folder}/run/socket`], []]) {
    const writer = await startWriter(dir, "limited", [...flags, ...net]);
    await until("it writes", () => writer.written.length > 5);
    await writer.kill();
  }
});

test("openDatabase() of a shared folder says so if the path is too long for a socket", async (dir) => {
  const error = await assertRejects(() => open(`${dir}/${"x".repeat(100)}`), DatabaseError, "too long");
  assertEquals(error.code, "database-refused");
});
