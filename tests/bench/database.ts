import { type Database, Ledger, migrate, openDatabase, type PostgresOptions, type Study } from "@pixl/core/database";
import { freshDatabase, startPostgres } from "../support/postgres.ts";
import { type BenchRow, compare, median, perSecond, rowOf } from "./bench.ts";

const STUDIES = 100_000;
const CLAIMS = 1_000;
const AREA = "database";

/** Registering studies and working on them, on a PostgreSQL server, beside the bare statements. */
export async function benchDatabase(): Promise<BenchRow[]> {
  await using server = await startPostgres();
  await using options = await freshDatabase(server);
  await using database = await openDatabase(options);
  await migrate(database);
  return [...await registering(database), ...await working(database), await memory(options)];
}

function* studies(project: string, count: number): Generator<Study> {
  for (let n = 0; n < count; n++) {
    yield {
      mrn: `${project} ${n % 10_000}`,
      accession_number: `A${n}`,
      study_date: "2020-02-29",
      procedure_occurrence_id: n,
      project_name: project,
      extract_generated_timestamp: "2026-01-01T00:00:00",
    };
  }
}

async function register(ledger: Ledger, project: string, count: number): Promise<void> {
  const { extractId } = await ledger.registerExtract({
    project_name: project,
    project_slug: project,
    extract_time: "2026-01-01T00:00:00",
    time_slug: "2026-01-01t00-00-00",
  });
  await ledger.registerStudies(extractId, studies(project, count));
}

async function registering(database: Database): Promise<BenchRow[]> {
  const ledger = new Ledger(database);
  let rounds = 0;
  const project = () => `bench-${rounds}`;
  const again: number[] = [];
  const first = await compare({
    area: AREA,
    name: "register 100,000 studies (goal: at most 3 times as long)",
    unit: "studies/s",
    goal: 1 / 3,
    rounds: 3,
    ours: async () => {
      rounds += 1;
      const rate = await perSecond(STUDIES, () => register(ledger, project(), STUDIES));
      again.push(await perSecond(STUDIES, () => register(ledger, project(), STUDIES)));
      return rate;
    },
    peers: { "bare unnest": () => perSecond(STUDIES, () => bareInsert(database, project())) },
  });
  again.shift();
  return [
    first,
    rowOf({
      area: AREA,
      name: "register them again (goal: at most 1.5 times as long)",
      unit: "studies/s",
      goal: 1 / 1.5,
      ours: median(again),
      peers: { "the first time": first.ours },
    }),
  ];
}

/** The same rows into a table with the same key, and nothing else. */
async function bareInsert({ sql }: Database, project: string): Promise<void> {
  await sql`drop table if exists bare`;
  await sql`
    create table bare (
      image_id bigint generated always as identity primary key, slug text not null, mrn text not null, accession_number text not null,
      study_date date not null, procedure_occurrence_id bigint not null, unique (slug, mrn, accession_number, study_date)
    )`;
  let batch: Study[] = [];
  const flush = async () => {
    await sql`
      insert into bare (slug, mrn, accession_number, study_date, procedure_occurrence_id)
      select ${project}, mrn, accession_number, study_date, procedure_occurrence_id from unnest(
        ${batch.map(({ mrn }) => mrn)}::text[], ${batch.map((study) => study.accession_number)}::text[],
        ${batch.map(({ study_date }) => study_date)}::text[]::date[],
        ${batch.map((study) => String(study.procedure_occurrence_id))}::text[]::bigint[]
      ) as t (mrn, accession_number, study_date, procedure_occurrence_id)`;
    batch = [];
  };
  for (const study of studies(project, STUDIES)) if (batch.push(study) === 1_000) await flush();
}

/** One after the other, as one consumer does. */
async function working(database: Database): Promise<BenchRow[]> {
  const ledger = new Ledger(database);
  const { sql } = database;
  let next = 0;
  await sql`create table plain (id bigint primary key, state text not null, owner text)`;
  await sql`insert into plain select n, 'queued' from generate_series(1, ${STUDIES}) n`;
  await sql`analyze plain, pixl_pipeline.image`;
  const all = [...studies("bench-1", STUDIES)];
  const ours = async (withPseudonym: boolean) => {
    let elapsed = 0;
    for (const study of all.slice(next, next += CLAIMS)) {
      const lease = { owner: `bench/${study.procedure_occurrence_id}`, leaseMs: 60_000 };
      const begun = performance.now();
      const claim = await ledger.claim("image", study, lease);
      const claimed = performance.now();
      if (claim.result !== "claimed") throw new Error(claim.result);
      await ledger.recordPseudonym(claim.id, lease.owner, `2.25.${claim.id}`);
      const recorded = performance.now();
      await ledger.complete("image", claim.id, lease.owner);
      elapsed += performance.now() - begun - (withPseudonym ? 0 : recorded - claimed);
    }
    return CLAIMS * 1_000 / elapsed;
  };
  const bare = (updates: number) => {
    const from = next;
    return perSecond(CLAIMS, async () => {
      for (let id = from + 1; id <= from + CLAIMS; id++) {
        for (let n = 0; n < updates; n++) {
          await sql`update plain set state = ${`state ${n}`}, owner = 'bench' where id = ${id}`;
        }
      }
    });
  };
  const common = { area: AREA, unit: "studies/s", goal: 0.8, rounds: 10 };
  return [
    await compare({
      ...common,
      name: "claim and complete",
      ours: () => ours(false),
      peers: { "two bare updates": () => bare(2) },
    }),
    await compare({
      ...common,
      name: "claim, recordPseudonym and complete",
      ours: () => ours(true),
      peers: { "three bare updates": () => bare(3) },
    }),
  ];
}

/** A process that does nothing else. */
async function memory(options: PostgresOptions): Promise<BenchRow> {
  const child = new URL("register_child.ts", import.meta.url).pathname;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", child, JSON.stringify(options)],
    stdin: "null",
    stderr: "inherit",
  }).output();
  return rowOf({
    area: AREA,
    name: "a million studies registered by a process of 250 MB",
    unit: "processes/GB",
    goal: 1,
    ours: 1e9 / Number(new TextDecoder().decode(stdout)),
    peers: { "250 MB": 4 },
  });
}
