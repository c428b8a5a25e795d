import type { Queryable } from "../sql.ts";
import type { ReportHistory, StudyEvent, StudyHistory, StudyTransfer } from "./types.ts";

interface ImageRow {
  readonly image_id: number;
  readonly slug: string;
  readonly state: string;
  readonly attempts: number;
  readonly last_error: string | null;
  readonly pseudo_study_uid: string | null;
  readonly study_date: string;
  readonly exported_at: string | null;
}

/** See `Ledger.history`. */
export async function history(sql: Queryable, study: string): Promise<readonly StudyHistory[]> {
  const images = await sql<ImageRow[]>`
    select image_id, slug, study_date, state, attempts, last_error, pseudo_study_uid, exported_at
    from pixl_pipeline.image
    where accession_number = ${study} or pseudo_study_uid = ${study}
    order by image_id`;
  const ids = images.map(({ image_id }) => String(image_id));
  const [events, reports, transfers] = [await eventsOf(sql, ids), await reportsOf(sql, ids), await sentOf(sql, ids)];
  return images.map((image) => ({
    projectSlug: image.slug,
    study_date: image.study_date,
    state: image.state,
    attempts: image.attempts,
    ...present("lastError", image.last_error),
    ...present("pseudo_study_uid", image.pseudo_study_uid),
    ...present("exportedAt", image.exported_at),
    reports: of(image, reports),
    events: of(image, events),
    transfers: of(image, transfers),
  }));
}

/** What belongs to one of the images. */
type Belonging<T> = readonly (T & { readonly imageId: number })[];

function of<T>({ image_id }: ImageRow, all: Belonging<T>): Omit<T & { readonly imageId: number }, "imageId">[] {
  return all.filter(({ imageId }) => imageId === image_id).map(({ imageId: _, ...rest }) => rest);
}

async function eventsOf(sql: Queryable, ids: readonly string[]): Promise<Belonging<StudyEvent>> {
  const rows = await sql<
    { image_id: number; at: string; what: string; consumer: string | null; detail: string | null }[]
  >`
    select image_id, at, what, consumer, detail from pixl_pipeline.event
    where image_id = any(${ids}::text[]::bigint[]) order by event_id`;
  return rows.map(({ image_id, at, what, consumer, detail }) => ({
    imageId: image_id,
    at,
    what,
    ...present("consumer", consumer),
    ...present("detail", detail),
  }));
}

async function reportsOf(sql: Queryable, ids: readonly string[]): Promise<Belonging<ReportHistory>> {
  const rows = await sql<
    {
      image_id: number;
      extract_time: string;
      procedure_occurrence_id: number;
      state: string;
      attempts: number;
      last_error: string | null;
    }[]
  >`
    select r.image_id, e.extract_time, r.procedure_occurrence_id, r.state, r.attempts, r.last_error
    from pixl_pipeline.report r join pixl_pipeline.extract e using (extract_id)
    where r.image_id = any(${ids}::text[]::bigint[])
      -- By the project's extracts, which are few: reports have no index by image.
      and e.slug in (select slug from pixl_pipeline.image where image_id = any(${ids}::text[]::bigint[]))
    order by r.report_id`;
  return rows.map(({ image_id, extract_time, procedure_occurrence_id, state, attempts, last_error }) => ({
    imageId: image_id,
    extractTime: extract_time,
    procedure_occurrence_id,
    state,
    attempts,
    ...present("lastError", last_error),
  }));
}

async function sentOf(sql: Queryable, ids: readonly string[]): Promise<Belonging<StudyTransfer>> {
  const rows = await sql<
    {
      image_id: number;
      destination: string;
      path: string;
      bytes: number;
      sha256: string;
      verified_by: string;
      version: string;
      transferred_at: string;
    }[]
  >`
    select image_id, destination, path, bytes, sha256, verified_by, version, transferred_at
    from pixl_pipeline.transfer
    where image_id = any(${ids}::text[]::bigint[]) order by transfer_id`;
  return rows.map(({ image_id, verified_by, transferred_at, ...row }) => ({
    imageId: image_id,
    ...row,
    verifiedBy: verified_by,
    transferredAt: transferred_at,
  }));
}

/** A property that is left out where there is nothing. */
function present<K extends string>(name: K, value: string | null): { readonly [key in K]?: string } {
  return value === null ? {} : { [name]: value } as { readonly [key in K]: string };
}
