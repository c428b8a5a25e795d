import type { Queryable } from "../sql.ts";
import { studyDay } from "./text.ts";
import type { Extract, Registration, Study } from "./types.ts";

interface ExtractRow {
  readonly extract_id: number;
  readonly slug: string;
  readonly project_name: string;
  readonly extract_time: string;
  readonly time_slug: string;
  readonly layout: string | null;
  readonly studies: number | null;
  readonly left_out: Readonly<Record<string, number>> | null;
}

/** What is known of an extract before it has a row. */
export interface NewExtract {
  /** As the extract has it. */
  readonly project_name: string;
  /** Its folder name. */
  readonly project_slug: string;
  /** ISO 8601, normalised. */
  readonly extract_time: string;
  /** Its folder name. */
  readonly time_slug: string;
  /** How its tables lie in its folder, in a word. @default {not known} */
  readonly layout?: string;
}

/** See `Ledger.registerExtract`. */
export async function registerExtract(sql: Queryable, extract: NewExtract): Promise<number> {
  // Without counts until all its studies are registered (again), so that half an extract is not taken for a whole one.
  const [row] = await sql<{ extract_id: number }[]>`
    insert into pixl_pipeline.extract (slug, project_name, extract_time, time_slug, layout)
    values (${extract.project_slug}, ${extract.project_name}, ${extract.extract_time}, ${extract.time_slug}, ${
    extract.layout ?? null
  })
    on conflict (slug, extract_time) do update set layout = excluded.layout, studies = null, left_out = null
    returning extract_id`;
  if (row === undefined) throw new Error("An upsert returned no row");
  return row.extract_id;
}

/** See `Ledger.findExtract`. */
export async function findExtract(
  sql: Queryable,
  projectSlug: string,
  timeSlug?: string,
): Promise<Extract | undefined> {
  const [row] = await sql<ExtractRow[]>`
    select extract_id, slug, project_name, extract_time, time_slug, layout, studies, left_out from pixl_pipeline.extract
    where slug = ${projectSlug} and (${timeSlug ?? null}::text is null or time_slug = ${timeSlug ?? null})
    order by extract_time::timestamptz desc, extract_id desc
    limit 1`;
  return row && extractOf(row);
}

/** See `Ledger.extracts`. */
export async function listExtracts(sql: Queryable, projectSlug: string): Promise<readonly Extract[]> {
  const rows = await sql<ExtractRow[]>`
    select extract_id, slug, project_name, extract_time, time_slug, layout, studies, left_out from pixl_pipeline.extract
    where slug = ${projectSlug}
    order by extract_id`;
  return rows.map(extractOf);
}

function extractOf(row: ExtractRow): Extract {
  return {
    extractId: row.extract_id,
    projectSlug: row.slug,
    projectName: row.project_name,
    extractTime: row.extract_time,
    timeSlug: row.time_slug,
    ...(row.layout === null ? {} : { layout: row.layout }),
    studies: row.studies ?? 0,
    leftOut: row.left_out ?? {},
  };
}

/** Adds one batch. */
export async function registerBatch(
  sql: Queryable,
  extractId: number,
  batch: readonly Study[],
): Promise<Registration> {
  const column = (pick: (study: Study) => string | null) => batch.map(pick);
  // Arrays of text with casts: postgres.js takes an array's type from its first element and ignores the cast otherwise. In the order of the key, so
  // that populates at once wait for each other in one direction only.
  const wanted = sql`
    wanted as materialized (
      select distinct on (accession_number, mrn, study_date) *
      from unnest(
        ${column((study) => study.mrn)}::text[],
        ${column((study) => study.accession_number)}::text[],
        ${column((study) => studyDay(study.study_date))}::text[]::date[],
        ${column((study) => String(study.procedure_occurrence_id))}::text[]::bigint[],
        ${column((study) => study.study_uid ?? null)}::text[]
      ) as wanted (mrn, accession_number, study_date, procedure_occurrence_id, study_uid)
      order by accession_number, mrn, study_date, procedure_occurrence_id
    ), known as materialized (
      select i.image_id, i.state, w.procedure_occurrence_id, accession_number, mrn, study_date
      from wanted w join pixl_pipeline.image i using (accession_number, mrn, study_date)
      where i.slug = (select slug from pixl_pipeline.extract where extract_id = ${extractId})
    )`;
  const [first] = await sql<{ wanted: number; known: number; added: number; exported: number }[]>`
    with ${wanted}, added as (
      insert into pixl_pipeline.image
        (slug, extract_id, mrn, accession_number, study_date, procedure_occurrence_id, study_uid)
      select e.slug, e.extract_id, w.mrn, w.accession_number, w.study_date, w.procedure_occurrence_id, w.study_uid
      from pixl_pipeline.extract e cross join wanted w
      where e.extract_id = ${extractId} and (w.accession_number, w.mrn, w.study_date) not in (select accession_number, mrn, study_date from known)
      order by w.accession_number, w.mrn, w.study_date
      on conflict (accession_number, mrn, study_date, slug) do nothing
      returning image_id, procedure_occurrence_id
    ), report as (
      insert into pixl_pipeline.report (extract_id, image_id, procedure_occurrence_id)
      select ${extractId}::bigint, image_id, procedure_occurrence_id
      from (select image_id, procedure_occurrence_id from known union all select * from added) image
      order by image_id
      on conflict (extract_id, image_id) do nothing
    )
    select (select count(*) from wanted) as wanted, (select count(*) from added) as added,
      (select count(*) from known) as known, (select count(*) from known where state = 'exported') as exported`;
  const { wanted: all = 0, known = 0, added = 0 } = first ?? {};
  let exported = first?.exported ?? 0;
  if (known + added < all) {
    // Another populate has added some at this very moment: a statement of its own sees them.
    const [second] = await sql<{ known: number; exported: number }[]>`
      with ${wanted}, report as (
        insert into pixl_pipeline.report (extract_id, image_id, procedure_occurrence_id)
        select ${extractId}::bigint, image_id, procedure_occurrence_id from known order by image_id
        on conflict (extract_id, image_id) do nothing
      )
      select count(*) as known, count(*) filter (where state = 'exported') as exported from known`;
    exported = second?.exported ?? 0;
  }
  return { added, known: batch.length - added - exported, exported };
}

/** Notes how many studies the extract asks for, and how many procedures are none. */
export async function finishRegistration(
  sql: Queryable,
  extractId: number,
  leftOut: Readonly<Record<string, number>>,
): Promise<void> {
  await sql`
    update pixl_pipeline.extract
    set studies = (select count(*) from pixl_pipeline.report where extract_id = ${extractId}),
      left_out = ${JSON.stringify(leftOut)}::text::jsonb
    where extract_id = ${extractId}`;
}
