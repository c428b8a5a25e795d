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
