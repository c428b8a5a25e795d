import { assertEquals, assertRejects } from "@std/assert";
import { DatabaseError, Ledger, migrate, openDatabase, pendingMigrations } from "@pixl/core/database";
import { applyMigrations } from "../../src/database/migrate.ts";
import { MIGRATIONS } from "../../src/database/migrations/list.ts";
import { onEachEngine } from "../support/databases.ts";
import { testWith } from "../support/programs.ts";
import { freshDatabase, sharedPostgres } from "../support/postgres.ts";

const ALL = MIGRATIONS.map(({ name }) => name);

onEachEngine((engine) => {
  const check = (name: string, run: () => Promise<void>) => engine.test(`migrate() (${engine.name}) ${name}`, run);

  check("applies every step once, in order", async () => {
    await using stack = new AsyncDisposableStack();
    const database = await engine.empty(stack);
    assertEquals((await pendingMigrations(database)).map(({ name }) => name), ALL);
    assertEquals(await migrate(database), { applied: ALL, current: ALL.at(-1) ?? "" });
    assertEquals(await pendingMigrations(database), []);
    assertEquals(await migrate(database), { applied: [], current: ALL.at(-1) ?? "" });
  });

  check("applies each step once when called many times at once", async () => {
    await using stack = new AsyncDisposableStack();
    const database = await engine.empty(stack);
    const results = await Promise.all(Array.from({ length: 10 }, () => migrate(database)));
    assertEquals(results.flatMap(({ applied }) => applied).sort(), ALL);
  });

  check("undoes a step that fails, keeps those before and goes on from there", async () => {
    await using stack = new AsyncDisposableStack();
    const database = await engine.empty(stack);
    const bad = { name: "0002_bad", sql: "create table pixl_pipeline.half (n int); select 1 / 0;" };
    const first = { name: "0001_first", sql: "create table pixl_pipeline.first (n int);" };
    const error = await assertRejects(() => applyMigrations(database, [first, bad]), DatabaseError);
    assertEquals(error.code, "value-refused");
    const [row] = await database.sql<{ first: boolean; half: boolean }[]>`
      select to_regclass('pixl_pipeline.first') is not null as first, to_regclass('pixl_pipeline.half') is not null as half`;
    assertEquals({ ...row }, { first: true, half: false });
    const good = { ...bad, sql: "create table pixl_pipeline.half (n int);" };
    assertEquals((await applyMigrations(database, [first, good])).applied, ["0002_bad"]);
  });

  check("refuses a step that was changed after it was applied", async () => {
    await using stack = new AsyncDisposableStack();
    const database = await engine.empty(stack);
    await migrate(database);
    await database.sql`update pixl_pipeline.migration set sha256 = 'other' where name = ${ALL[0] ?? ""}`;
    const error = await assertRejects(() => migrate(database), DatabaseError, `'${ALL[0]}'`);
    assertEquals(error.code, "migration-changed");
    assertEquals((await assertRejects(() => pendingMigrations(database), DatabaseError)).code, "migration-changed");
  });

  check("refuses tables of a newer version", async () => {
    await using stack = new AsyncDisposableStack();
    const database = await engine.empty(stack);
    await migrate(database);
    await database.sql`insert into pixl_pipeline.migration (name, sha256) values ('9999_future', '')`;
    const error = await assertRejects(() => migrate(database), DatabaseError, "'9999_future'");
    assertEquals(error.code, "database-newer");
  });

  check("is asked for where the tables are missing", async () => {
    await using stack = new AsyncDisposableStack();
    const error = await assertRejects(
      async () => await new Ledger(await engine.empty(stack)).summary(),
      DatabaseError,
      "pixl migrate",
    );
    assertEquals([error.code, error.kind], ["database-outdated", "configuration"]);
  });

  check("rejects with the reason of its signal", async () => {
    await using stack = new AsyncDisposableStack();
    const database = await engine.empty(stack);
    const reason = new Error("stop");
    const signal = AbortSignal.abort(reason);
    assertEquals(await assertRejects(() => migrate(database, { signal })), reason);
    assertEquals((await pendingMigrations(database)).map(({ name }) => name), ALL);
  });
});

testWith("postgresql", "migrate() by ten processes at once applies each step once", async () => {
  await using server = await sharedPostgres();
  await using options = await freshDatabase(server);
  const program = `
    import { migrate, openDatabase } from "@pixl/core/database";
    await using database = await openDatabase(${JSON.stringify(options)});
    console.log((await migrate(database)).applied.join("\\n"));`;
  const outputs = await Promise.all(Array.from({ length: 10 }, async () => {
    const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-check", program],
      cwd: new URL("../..", import.meta.url).pathname,
    }).output();
    assertEquals(success, true, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout);
  }));
  assertEquals(outputs.flatMap((output) => output.split("\n").filter((line) => line !== "")).sort(), ALL);
  await using database = await openDatabase(options);
  assertEquals(await pendingMigrations(database), []);
});
