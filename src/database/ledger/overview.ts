import type { Queryable } from "../sql.ts";
import type { FailureCount, SentCount, StateCount, StudyKind, UnfinishedStudy } from "./types.ts";

/** See `Ledger.summary`. */
export async function summary(sql: Queryable, projectSlug?: string): Promise<readonly StateCount[]> {
  const rows = await sql<{ slug: string; kind: StudyKind; state: string; count: number }[]>`
    select slug, kind, state, count(*) as count
    from (
      select slug, 'image' as kind, state from pixl_pipeline.image
      union all
      select e.slug, 'report', r.state from pixl_pipeline.report r join pixl_pipeline.extract e using (extract_id)
    ) study
    where ${projectSlug ?? null}::text is null or slug = ${projectSlug ?? null}
    group by slug, kind, state
    order by slug, kind, state`;
  return rows.map(({ slug, ...row }) => ({ projectSlug: slug, ...row }));
}

/** See `Ledger.inHand`. */
export async function inHand(sql: Queryable): Promise<Readonly<Record<StudyKind, number>>> {
  const [row] = await sql<Record<StudyKind, number>[]>`
    select
      (select count(*) from pixl_pipeline.image where state = 'working' and lease_until >= now()) as image,
      (select count(*) from pixl_pipeline.report where state = 'working' and lease_until >= now()) as report`;
  return { image: row?.image ?? 0, report: row?.report ?? 0 };
}

/** See `Ledger.queues`. */
export async function queues(sql: Queryable): Promise<readonly string[]> {
  const rows = await sql<{ queue: string }[]>`
    select queue from pixl_pipeline.queue union select queue from pixl_pipeline.rate_limit order by queue`;
  return rows.map(({ queue }) => queue);
}

/** See `Ledger.failures`. */
export async function failures(sql: Queryable, projectSlug: string): Promise<readonly FailureCount[]> {
  return await sql<{ kind: StudyKind; reason: string; count: number }[]>`
    select kind, coalesce(last_error, 'unknown') as reason, count(*) as count
    from (
      select slug, 'image' as kind, state, last_error from pixl_pipeline.image
      union all
      select e.slug, 'report', r.state, r.last_error
      from pixl_pipeline.report r join pixl_pipeline.extract e using (extract_id)
    ) study
    where slug = ${projectSlug} and state = 'failed'
    group by kind, reason
    order by kind, count desc, reason`;
}

/** See `Ledger.sent`. */
export async function sent(sql: Queryable, projectSlug: string): Promise<readonly SentCount[]> {
  return await sql<{ destination: string; day: string; files: number; bytes: number }[]>`
    select t.destination, (t.transferred_at at time zone 'utc')::date as day, count(*) as files, sum(t.bytes)::bigint as bytes
    from pixl_pipeline.transfer t
    left join pixl_pipeline.image i using (image_id)
    left join pixl_pipeline.extract e on e.extract_id = t.extract_id
    where coalesce(i.slug, e.slug) = ${projectSlug}
    group by t.destination, day
    order by day, t.destination`;
}

/** A row of a page, with its place in the order. */
export interface PlacedUnfinished extends UnfinishedStudy {
  readonly id: number;
}

/** One page of what is not finished, after that row. */
export async function unfinishedPage(
  sql: Queryable,
  projectSlug: string,
  kind: StudyKind,
  after: number,
  limit: number,
): Promise<readonly PlacedUnfinished[]> {
  interface Row {
    readonly id: number;
    readonly procedure_occurrence_id: number;
    readonly extract_time: string;
    readonly state: string;
    readonly attempts: number;
    readonly last_error: string | null;
  }
  const rows = await (kind === "image"
    ? sql<Row[]>`
      select i.image_id as id, i.procedure_occurrence_id, e.extract_time, i.state, i.attempts, i.last_error
      from pixl_pipeline.image i join pixl_pipeline.extract e using (extract_id)
      where i.slug = ${projectSlug} and i.state <> 'exported' and i.image_id > ${after}
      order by i.image_id limit ${limit}`
    : sql<Row[]>`
      select r.report_id as id, r.procedure_occurrence_id, e.extract_time, r.state, r.attempts, r.last_error
      from pixl_pipeline.report r join pixl_pipeline.extract e using (extract_id)
      where e.slug = ${projectSlug} and r.state <> 'done' and r.report_id > ${after}
      order by r.report_id limit ${limit}`);
  return rows.map(({ extract_time, last_error, ...row }) => ({
    kind,
    ...row,
    extractTime: extract_time,
    ...(last_error === null ? {} : { lastError: last_error }),
  }));
}
