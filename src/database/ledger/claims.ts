import { LeaseLostError } from "../errors.ts";
import type { Queryable } from "../sql.ts";
import { reasonText, studyDay } from "./text.ts";
import type { Claim, Lease, StudyKey, StudyKind } from "./types.ts";

const TABLES = {
  image: { table: "pixl_pipeline.image", id: "image_id" },
  report: { table: "pixl_pipeline.report", id: "report_id" },
} as const;

/** See `Ledger.claim`. */
export async function claim(
  sql: Queryable,
  kind: StudyKind,
  study: StudyKey,
  { owner, leaseMs }: Lease,
): Promise<Claim> {
  const { table, id } = TABLES[kind];
  const [row] = await sql<{ id: number; state: string; attempt: number | null; for_ms: number | null }[]>`
    with target as (${target(sql, kind, study)}), claimed as (
      update ${sql(table)} t
      set state = 'working', attempts = t.attempts + 1, updated_at = now(),
        lease_owner = ${owner}, lease_until = now() + ${leaseMs}::float8 * interval '1 millisecond'
      where t.${sql(id)} = (select id from target)
        and (t.state in ('queued', 'failed') or (t.state = 'working' and t.lease_until < now()))
      returning t.attempts
    )
    select target.id, target.state, claimed.attempts as attempt,
      extract(epoch from target.lease_until - now())::float8 * 1000 as for_ms
    from target left join claimed on true`;
  if (row === undefined) return { result: "unknown" };
  if (row.attempt !== null) return { result: "claimed", id: row.id, attempt: row.attempt };
  if (row.state === "done" || row.state === "exported") return { result: "done" };
  // Someone claimed it at this very moment where the row still shows no live lease: theirs is as long as ours at best guess.
  const left = row.for_ms ?? 0;
  return { result: "busy", forMs: Math.ceil(left > 0 ? left : leaseMs) };
}

/** See `Ledger.renew`. */
export async function renew(sql: Queryable, kind: StudyKind, rowId: number, { owner, leaseMs }: Lease): Promise<void> {
  const { table, id } = TABLES[kind];
  const { count } = await sql`
    update ${sql(table)} set lease_until = now() + ${leaseMs}::float8 * interval '1 millisecond'
    where ${sql(id)} = ${rowId} and lease_owner = ${owner}`;
  if (count === 0) throw new LeaseLostError(kind, rowId, owner);
}

/** See `Ledger.completeImage`. */
export async function completeImage(sql: Queryable, imageId: number, owner: string, pseudonym: string): Promise<void> {
  const { count } = await sql`
    update pixl_pipeline.image
    set state = 'done', pseudo_study_uid = ${pseudonym}, last_error = null, lease_owner = null, lease_until = null
    where image_id = ${imageId} and lease_owner = ${owner}`;
  if (count === 0) throw new LeaseLostError("image", imageId, owner);
}

/** See `Ledger.completeReport`. */
export async function completeReport(sql: Queryable, reportId: number, owner: string, text: string): Promise<void> {
  const { count } = await sql`
    update pixl_pipeline.report
    set state = 'done', image_report = ${text}, last_error = null, lease_owner = null, lease_until = null
    where report_id = ${reportId} and lease_owner = ${owner}`;
  if (count === 0) throw new LeaseLostError("report", reportId, owner);
}

/** See `Ledger.putBack`. */
export async function putBack(
  sql: Queryable,
  kind: StudyKind,
  rowId: number,
  owner: string,
  reason: string,
): Promise<void> {
  const { table, id } = TABLES[kind];
  const { count } = await sql`
    update ${sql(table)}
    set state = 'queued', last_error = ${reasonText(reason)}, lease_owner = null, lease_until = null
    where ${sql(id)} = ${rowId} and lease_owner = ${owner}`;
  if (count === 0) throw new LeaseLostError(kind, rowId, owner);
}

/** See `Ledger.fail`. */
export async function fail(sql: Queryable, kind: StudyKind, study: StudyKey, reason: string): Promise<boolean> {
  const { table, id } = TABLES[kind];
  const { count } = await sql`
    with target as (${target(sql, kind, study)})
    update ${sql(table)}
    set state = 'failed', last_error = ${reasonText(reason)}, lease_owner = null, lease_until = null
    where ${sql(id)} = (select id from target) and state in ('queued', 'working')`;
  return count > 0;
}

function target(sql: Queryable, kind: StudyKind, study: StudyKey) {
  const image = sql`
    i.slug = ${study.project_name} and i.mrn = ${study.mrn} and i.accession_number = ${study.accession_number}
    and i.study_date = ${studyDay(study.study_date)}::date`;
  return kind === "image"
    ? sql`select i.image_id as id, i.state, i.lease_until from pixl_pipeline.image i where ${image}`
    : sql`
      select r.report_id as id, r.state, r.lease_until
      from pixl_pipeline.image i
      join pixl_pipeline.report r using (image_id)
      join pixl_pipeline.extract e on e.extract_id = r.extract_id
      where ${image} and e.slug = ${study.project_name} and e.extract_time = ${study.extract_generated_timestamp}`;
}
