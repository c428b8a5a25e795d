import type { Queryable } from "../sql.ts";
import type { RepublishScope, Study, StudyKind, UnpublishedStudy } from "./types.ts";

interface Row extends Omit<Study, "study_uid"> {
  readonly id: number;
  readonly image_id: number;
  readonly study_uid: string | null;
}

/** One page of studies without a confirmed message, after the image with that id. */
export async function unpublishedPage(
  sql: Queryable,
  extractId: number,
  kind: StudyKind,
  after: number,
  limit: number,
): Promise<{ readonly studies: UnpublishedStudy[]; readonly last: number | undefined }> {
  const wanted = kind === "image" ? sql`i` : sql`r`;
  const id = kind === "image" ? sql`i.image_id` : sql`r.report_id`;
  // By the extract's reports for both kinds, so that an extract also publishes images that another one registered and did not get to publish.
  const rows = await sql<Row[]>`
    select ${id} as id, i.image_id, i.mrn, i.accession_number, i.study_date, i.study_uid, r.procedure_occurrence_id,
      e.slug as project_name, e.extract_time as extract_generated_timestamp
    from pixl_pipeline.report r
    join pixl_pipeline.image i on i.image_id = r.image_id
    join pixl_pipeline.extract e on e.extract_id = r.extract_id
    where r.extract_id = ${extractId} and r.image_id > ${after}
      and ${wanted}.state = 'queued' and ${wanted}.published_at is null
    order by r.image_id
    limit ${limit}`;
  return {
    last: rows.at(-1)?.image_id,
    studies: rows.map(({ image_id: _, study_uid, ...study }) => ({
      ...study,
      ...(study_uid === null ? {} : { study_uid }),
    })),
  };
}

/** See `Ledger.markPublished`. */
export async function markPublished(sql: Queryable, kind: StudyKind, ids: readonly number[]): Promise<void> {
  const list = ids.map(String);
  await (kind === "image"
    ? sql`update pixl_pipeline.image set published_at = now() where image_id = any(${list}::text[]::bigint[])`
    : sql`update pixl_pipeline.report set published_at = now() where report_id = any(${list}::text[]::bigint[])`);
}

/** See `Ledger.republish`. */
export async function republish(
  sql: Queryable,
  kind: StudyKind,
  extractId: number,
  scope: RepublishScope,
): Promise<number> {
  const wanted = kind === "image" ? sql`i` : sql`r`;
  const inScope = scope === "failed" ? sql`${wanted}.state = 'failed'` : sql`
    (${wanted}.state in ('queued', 'failed') or (${wanted}.state = 'working' and ${wanted}.lease_until < now()))`;
  const waiting = sql`state = 'queued', published_at = null, lease_owner = null, lease_until = null`;
  const { count } = await (kind === "image"
    ? sql`
      update pixl_pipeline.image i set ${waiting}
      from pixl_pipeline.report r
      where r.extract_id = ${extractId} and i.image_id = r.image_id and ${inScope}`
    : sql`
      update pixl_pipeline.report r set ${waiting}
      where r.extract_id = ${extractId} and ${inScope}`);
  return count;
}
