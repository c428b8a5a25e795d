import type { Queryable } from "../sql.ts";
import type { StateCount, StudyKind } from "./types.ts";

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

/** See `Ledger.rate`. */
export async function rate(sql: Queryable, queue: string): Promise<number | undefined> {
  const [row] = await sql<{ rate: number }[]>`select rate from pixl_pipeline.rate_limit where queue = ${queue}`;
  return row?.rate;
}

/** See `Ledger.setRate`. */
export async function setRate(sql: Queryable, queue: string, value: number): Promise<void> {
  await sql`
    insert into pixl_pipeline.rate_limit (queue, rate) values (${queue}, ${value})
    on conflict (queue) do update set rate = excluded.rate, updated_at = now()`;
}
