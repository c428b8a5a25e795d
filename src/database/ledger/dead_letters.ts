import type { Queryable } from "../sql.ts";
import { studyDay } from "./text.ts";
import type { DeadStudy, StudyKey, StudyKind } from "./types.ts";

/** See `Ledger.askAgain`. */
export async function askAgain(sql: Queryable, kind: StudyKind, studies: readonly StudyKey[]): Promise<number> {
  const { count } = await (kind === "image"
    ? sql`
      update pixl_pipeline.image t set state = 'queued'
      from ${named(sql, studies)}
      where ${isImage(sql, "t")} and t.state = 'failed'`
    : sql`
      update pixl_pipeline.report t set state = 'queued'
      from ${named(sql, studies)}
      join pixl_pipeline.image i on ${isImage(sql, "i")}
      join pixl_pipeline.extract e on e.slug = i.slug and e.extract_time = study.extract_time
      where t.extract_id = e.extract_id and t.image_id = i.image_id and t.state = 'failed'`);
  return count;
}

/** See `Ledger.superseded`. */
export async function superseded(
  sql: Queryable,
  kind: StudyKind,
  letters: readonly DeadStudy[],
): Promise<readonly boolean[]> {
  // Waiting alone says little: whoever retries a dead letter says so here first, and may not get to it. Nor does work that was abandoned: the letter
  // may be what is left of it.
  const isSuperseded = sql`
    coalesce(
      t.state in ('done', 'exported')
      or (t.state = 'working' and t.lease_until >= now())
      or (t.state = 'queued' and t.published_at > study.died_at),
      false
    )`;
  const rows = await (kind === "image"
    ? sql<{ superseded: boolean }[]>`
      select ${isSuperseded} as superseded
      from ${named(sql, letters)}
      left join pixl_pipeline.image t on ${isImage(sql, "t")}
      order by place`
    : sql<{ superseded: boolean }[]>`
      select ${isSuperseded} as superseded
      from ${named(sql, letters)}
      left join pixl_pipeline.image i on ${isImage(sql, "i")}
      left join pixl_pipeline.extract e on e.slug = i.slug and e.extract_time = study.extract_time
      left join pixl_pipeline.report t on t.extract_id = e.extract_id and t.image_id = i.image_id
      order by place`);
  return rows.map((row) => row.superseded);
}

/** Studies as a table `study`. */
function named(sql: Queryable, studies: readonly (StudyKey & { readonly diedAt?: string })[]) {
  return sql`
    unnest(
      ${studies.map(({ accession_number }) => accession_number)}::text[],
      ${studies.map(({ mrn }) => mrn)}::text[],
      ${studies.map(({ study_date }) => studyDay(study_date))}::text[]::date[],
      ${studies.map(({ project_name }) => project_name)}::text[],
      ${studies.map(({ extract_generated_timestamp }) => extract_generated_timestamp)}::text[],
      ${studies.map(({ diedAt = "infinity" }) => diedAt)}::text[]::timestamptz[]
    ) with ordinality as study (accession_number, mrn, study_date, slug, extract_time, died_at, place)`;
}

/** Whether the row of that name of the table `image` is that of `study`. */
function isImage(sql: Queryable, row: string) {
  return sql`
    (${sql(row)}.accession_number, ${sql(row)}.mrn, ${sql(row)}.study_date, ${sql(row)}.slug)
      = (study.accession_number, study.mrn, study.study_date, study.slug)`;
}
