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
  const [claimed] = await sql<{ id: number; attempt: number }[]>`
    update ${sql(table)} t
    set state = 'working', attempts = t.attempts + 1,
      lease_owner = ${owner}, lease_until = now() + ${leaseMs}::float8 * interval '1 millisecond'
    where ${which(sql, kind, study)}
      and (t.state in ('queued', 'failed') or (t.state = 'working' and t.lease_until < now()))
    returning t.${sql(id)} as id, t.attempts as attempt`;
  if (claimed !== undefined) return { result: "claimed", ...claimed };
  const [row] = await sql<{ state: string; for_ms: number | null }[]>`
    select t.state, extract(epoch from t.lease_until - now())::float8 * 1000 as for_ms
    from ${sql(table)} t where ${which(sql, kind, study)}`;
  if (row === undefined) return { result: "unknown" };
  if (row.state === "done" || row.state === "exported") return { result: "done" };
  // It may have been put back just now.
  return { result: "busy", forMs: Math.max(1, Math.ceil(row.for_ms ?? 0)) };
}

/** See `Ledger.renew`. */
export async function renew(sql: Queryable, kind: StudyKind, rowId: number, { owner, leaseMs }: Lease): Promise<void> {
  const { table, id } = TABLES[kind];
  const { count } = await sql`
    update ${sql(table)} set lease_until = now() + ${leaseMs}::float8 * interval '1 millisecond'
    where ${sql(id)} = ${rowId} and lease_owner = ${owner}`;
  if (count === 0) throw new LeaseLostError(kind, rowId, owner);
}

/** See `Ledger.recordPseudonym`. */
export async function recordPseudonym(sql: Queryable, imageId: number, owner: string, uid: string): Promise<void> {
  const { count } = await sql`
    update pixl_pipeline.image set pseudo_study_uid = ${uid} where image_id = ${imageId} and lease_owner = ${owner}`;
  if (count === 0) throw new LeaseLostError("image", imageId, owner);
}

/** See `Ledger.recordReport`. */
export async function recordReport(sql: Queryable, reportId: number, owner: string, text: string): Promise<void> {
  const { count } = await sql`
    update pixl_pipeline.report set image_report = ${text} where report_id = ${reportId} and lease_owner = ${owner}`;
  if (count === 0) throw new LeaseLostError("report", reportId, owner);
}

/** See `Ledger.complete`. */
export async function complete(sql: Queryable, kind: StudyKind, rowId: number, owner: string): Promise<void> {
  const { table, id } = TABLES[kind];
  const { count } = await sql`
    update ${sql(table)} set state = 'done', last_error = null, lease_owner = null, lease_until = null
    where ${sql(id)} = ${rowId} and lease_owner = ${owner}`;
  if (count === 0) throw new LeaseLostError(kind, rowId, owner);
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
  const { table } = TABLES[kind];
  const { count } = await sql`
    update ${sql(table)} t
    set state = 'failed', last_error = ${reasonText(reason)}, lease_owner = null, lease_until = null
    where ${which(sql, kind, study)} and t.state in ('queued', 'working')`;
  return count > 0;
}

/** Which row `t` is the study's. */
function which(sql: Queryable, kind: StudyKind, study: StudyKey) {
  const image = (t: string) =>
    sql`${sql(t)}.accession_number = ${study.accession_number} and ${sql(t)}.mrn = ${study.mrn}
      and ${sql(t)}.study_date = ${studyDay(study.study_date)}::date and ${sql(t)}.slug = ${study.project_name}`;
  return kind === "image" ? image("t") : sql`
    t.report_id = (
      select r.report_id
      from pixl_pipeline.image i
      join pixl_pipeline.report r using (image_id)
      join pixl_pipeline.extract e on e.extract_id = r.extract_id
      where ${image("i")} and e.slug = ${study.project_name} and e.extract_time = ${study.extract_generated_timestamp}
    )`;
}
