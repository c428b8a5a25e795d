/** Databases of the Python PIXL, as its models of 2024 and 2026 make them, with rows. */
import { assert, assertEquals, assertNotMatch, assertRejects } from "@std/assert";
import { type Database, DatabaseError, Ledger, migrate } from "@pixl/core/database";
import { type Engine, onEachEngine } from "../support/databases.ts";

const DUMPS = {
  2024: `
    create schema pipeline;
    create table pipeline.extract (extract_id serial primary key, slug varchar not null);
    create table pipeline.image (
      image_id serial primary key, accession_number varchar not null, study_date date not null, mrn varchar not null,
      hashed_identifier varchar, exported_at timestamp with time zone,
      extract_id integer not null references pipeline.extract (extract_id)
    );`,
  2026: `
    create schema pixl_pipeline;
    create table pixl_pipeline.alembic_version (version_num varchar(32) primary key);
    create table pixl_pipeline.extract (extract_id serial primary key, slug varchar not null);
    create table pixl_pipeline.image (
      image_id serial primary key, accession_number varchar not null, study_date date not null, mrn varchar not null,
      study_uid varchar, pseudo_study_uid varchar, pseudo_patient_id varchar, exported_at timestamp with time zone,
      extract_id integer not null references pixl_pipeline.extract (extract_id)
    );`,
} as const;

type Year = keyof typeof DUMPS;

async function oldDatabase(engine: Engine, stack: AsyncDisposableStack, year: Year, rows: string): Promise<Database> {
  const database = await engine.empty(stack);
  const [schema, pseudonym] = year === 2024 ? ["pipeline", "hashed_identifier"] : ["pixl_pipeline", "pseudo_study_uid"];
  await database.sql.unsafe(DUMPS[year]);
  await database.sql.unsafe(`
    insert into ${schema}.extract (slug) values ('project-a'), ('project-b');
    insert into ${schema}.image (accession_number, study_date, mrn, ${pseudonym}, exported_at, extract_id) values ${rows};`);
  return database;
}

const ROWS = `
  ('ACCSEED1', '2020-02-29', 'MRNSEED1', '2.25.1', '2024-01-02 03:04:05.678901+00', 1),
  ('ACCSEED2', '2020-03-01', 'MRNSEED1', null, null, 1),
  ('ACCSEED1', '2020-02-29', 'MRNSEED1', '2.25.1', null, 2)`;

/** Columns, constraints and indexes, as text. */
async function described({ sql }: Database): Promise<string[]> {
  const rows = await sql<{ line: string }[]>`
    select format('%s.%s %s %s %s %s', table_name, column_name, data_type, is_nullable, is_identity, column_default) as line
    from information_schema.columns where table_schema = 'pixl_pipeline'
    union all
    select format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) from pg_constraint
    where connamespace = 'pixl_pipeline'::regnamespace and contype <> 'n'
    union all
    select indexdef from pg_indexes where schemaname = 'pixl_pipeline'
    union all
    select format('%s %s', tgrelid::regclass, pg_get_triggerdef(oid)) from pg_trigger
    where tgrelid::regclass::text like 'pixl_pipeline.%' and not tgisinternal
    order by line`;
  return rows.map(({ line }) => line);
}

onEachEngine((engine) => {
  for (const year of [2024, 2026] as const) {
    const check = (name: string, run: (stack: AsyncDisposableStack) => Promise<void>) =>
      engine.test(`migrate() of a database of ${year} (${engine.name}) ${name}`, async () => {
        await using stack = new AsyncDisposableStack();
        await run(stack);
      });

    check("keeps its rows: what was exported stays so, what was not is wanted again", async (stack) => {
      const database = await oldDatabase(engine, stack, year, ROWS);
      await migrate(database);
      const images = await database.sql`
        select image_id, slug, mrn, accession_number, study_date, pseudo_study_uid, exported_at, state
        from pixl_pipeline.image order by image_id`;
      assertEquals(images.map((row) => Object.values(row)), [
        [1, "project-a", "MRNSEED1", "ACCSEED1", "2020-02-29", "2.25.1", "2024-01-02 03:04:05.678901+00", "exported"],
        [2, "project-a", "MRNSEED1", "ACCSEED2", "2020-03-01", null, null, "queued"],
        [3, "project-b", "MRNSEED1", "ACCSEED1", "2020-02-29", "2.25.1", null, "queued"],
      ]);
      const [history] = await new Ledger(database).history("ACCSEED2");
      assertEquals(history?.events.map(({ what, detail }) => [what, detail]), [["image adopted", "queued"]]);
    });

    check("goes on from there: an extract is populated, and nothing is sent twice", async (stack) => {
      const database = await oldDatabase(engine, stack, year, ROWS);
      await migrate(database);
      const ledger = new Ledger(database);
      const extract = {
        project_name: "Project A",
        project_slug: "project-a",
        extract_time: "2026-01-01T00:00:00",
        time_slug: "2026-01-01t00-00-00",
      };
      const { extractId } = await ledger.registerExtract(extract);
      const studies = [1, 2, 3].map((n) => ({
        mrn: "MRNSEED1",
        accession_number: `ACCSEED${n}`,
        study_date: n === 1 ? "2020-02-29" : "2020-03-01",
        procedure_occurrence_id: n,
        project_name: "project-a",
        extract_generated_timestamp: extract.extract_time,
      }));
      assertEquals(await ledger.registerStudies(extractId, studies), { added: 1, known: 1, exported: 1 });
      const unpublished = await Array.fromAsync(ledger.unpublished(extractId, "image"));
      assertEquals(unpublished.map(({ procedure_occurrence_id }) => procedure_occurrence_id), [2, 3]);
      assertEquals((await ledger.findExtract("project-a"))?.extractId, extractId);
    });

    check("has the tables of a new one, and columns of its own", async (stack) => {
      const adopted = await oldDatabase(engine, stack, year, ROWS);
      await migrate(adopted);
      const fresh = await engine.empty(stack);
      await migrate(fresh);
      const own = (line: string) => /alembic_version|pseudo_patient_id/.test(line);
      assertEquals((await described(adopted)).filter((line) => !own(line)), await described(fresh));
    });

    check("reports a study that stands twice and a pseudonym of two, and changes nothing", async (stack) => {
      const database = await oldDatabase(
        engine,
        stack,
        year,
        `${ROWS}, ('ACCSEED2', '2020-03-01', 'MRNSEED1', null, null, 1), ('ACCSEED9', '2020-03-01', 'MRNSEED1', '2.25.1', null, 2),
        ('ACCSEED8', '2020-03-01', 'MRNSEED1', null, now(), 2)`,
      );

      const error = await assertRejects(() => migrate(database), DatabaseError);

      assertEquals([error.code, error.kind], ["adoption-refused", "input"]);
      for (const ids of ["2 and 4", "3 and 5", "6 has no pseudonym"]) {
        assert(error.message.includes(ids), error.message);
      }
      assertNotMatch(error.message, /SEED|2\.25/);
      const schema = year === 2024 ? "pipeline" : "pixl_pipeline";
      const [row] = await database.sql.unsafe<{ count: number }[]>(`select count(*) as count from ${schema}.image`);
      assertEquals(row?.count, 6);
    });
  }
});
