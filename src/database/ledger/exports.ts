import { DatabaseError } from "../errors.ts";
import type { Queryable, Sql } from "../sql.ts";
import type { ImageToUpload, RecordedTransfer, ReportRow, Transfer } from "./types.ts";

/** One page of images to upload, after the one with that id. */
export async function imagesToUploadPage(
  sql: Queryable,
  projectSlug: string | undefined,
  after: number,
  limit: number,
): Promise<ImageToUpload[]> {
  const rows = await sql<{ image_id: number; slug: string; pseudo_study_uid: string }[]>`
    select image_id, slug, pseudo_study_uid from pixl_pipeline.image
    where state = 'done' and image_id > ${after} and (${projectSlug ?? null}::text is null or slug = ${
    projectSlug ?? null
  })
    order by image_id
    limit ${limit}`;
  return rows.map(({ image_id, slug, pseudo_study_uid }) => ({
    imageId: image_id,
    projectSlug: slug,
    pseudo_study_uid,
  }));
}

/** A row of a page, with its place in the order. */
export interface PlacedReport extends ReportRow {
  readonly report_id: number;
}

/** One page of an extract's reports, after that place. */
export async function reportsPage(
  sql: Queryable,
  extractId: number,
  after: PlacedReport | undefined,
  limit: number,
): Promise<readonly PlacedReport[]> {
  const procedure = after?.procedure_occurrence_id ?? Number.MIN_SAFE_INTEGER;
  return await sql<PlacedReport[]>`
    select r.procedure_occurrence_id, i.pseudo_study_uid as image_identifier, r.image_report, r.report_id
    from pixl_pipeline.report r join pixl_pipeline.image i on i.image_id = r.image_id
    where r.extract_id = ${extractId} and r.state = 'done'
      and (r.procedure_occurrence_id, r.report_id) > (${procedure}::bigint, ${after?.report_id ?? 0}::bigint)
    order by r.procedure_occurrence_id, r.report_id
    limit ${limit}`;
}

/** See `Ledger.recordTransfer`. */
export async function recordTransfer(sql: Queryable, transfer: Transfer): Promise<void> {
  await sql`
    select pixl_pipeline.record_transfer(${transfer.extractId ?? null}, ${
    transfer.imageId ?? null
  }, ${transfer.destination},
      ${transfer.path}, ${transfer.bytes}, ${transfer.sha256}, ${transfer.verifiedBy}, ${transfer.version})`;
}

/** See `Ledger.hasTransfersTo`. */
export async function hasTransfersTo(sql: Queryable, destination: string): Promise<boolean> {
  const [row] = await sql<{ found: boolean }[]>`
    select exists (select from pixl_pipeline.transfer where destination = ${destination}) as found`;
  return row?.found === true;
}

/** See `Ledger.findTransfer`. */
export async function findTransfer(
  sql: Queryable,
  destination: string,
  path: string,
): Promise<RecordedTransfer | undefined> {
  const [row] = await sql<{
    transfer_id: number;
    extract_id: number | null;
    image_id: number | null;
    bytes: number;
    sha256: string;
    verified_by: string;
    version: string;
    transferred_at: string;
  }[]>`
    select transfer_id, extract_id, image_id, bytes, sha256, verified_by, version, transferred_at
    from pixl_pipeline.transfer
    where destination = ${destination} and path = ${path}
    order by transfer_id desc
    limit 1`;
  return row && {
    transferId: row.transfer_id,
    ...(row.extract_id === null ? {} : { extractId: row.extract_id }),
    ...(row.image_id === null ? {} : { imageId: row.image_id }),
    destination,
    path,
    bytes: row.bytes,
    sha256: row.sha256,
    verifiedBy: row.verified_by,
    version: row.version,
    transferredAt: row.transferred_at,
  };
}

/** See `Ledger.markExported`. */
export async function markExported(sql: Queryable, imageId: number, at?: string): Promise<void> {
  const { count } = await sql`
    update pixl_pipeline.image set state = 'exported', exported_at = coalesce(${at ?? null}::timestamptz, now())
    where image_id = ${imageId} and state <> 'exported'
      and exists (select from pixl_pipeline.transfer where image_id = ${imageId})`;
  if (count > 0) return;
  const [row] = await sql<{ state: string }[]>`select state from pixl_pipeline.image where image_id = ${imageId}`;
  if (row?.state === "exported") return;
  const problem = row === undefined ? "there is no such image" : "no transfer of it is recorded, record that first";
  throw new DatabaseError("transition-refused", `Cannot mark image ${imageId} exported: ${problem}`);
}

/** See `Ledger.recordImageExported`. */
export async function recordImageExported(
  sql: Sql | Queryable,
  transfer: Transfer & { readonly imageId: number },
): Promise<void> {
  const both = async (tx: Queryable) => {
    await recordTransfer(tx, transfer);
    await markExported(tx, transfer.imageId);
  };
  await ("begin" in sql ? sql.begin(both) : both(sql));
}
