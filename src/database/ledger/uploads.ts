import type { Queryable } from "../sql.ts";
import type { KnownImage, PartNote, RecordedTransfer } from "./types.ts";

/** See `Ledger.findPart`. */
export async function findPart(sql: Queryable, destination: string, path: string): Promise<PartNote | undefined> {
  const [row] = await sql<PartNote[]>`
    select name, source, bytes, sha256 from pixl_pipeline.upload_part
    where destination = ${destination} and path = ${path}`;
  return row && { name: row.name, source: row.source, bytes: row.bytes, sha256: row.sha256 };
}

/** See `Ledger.notePart`. */
export async function notePart(sql: Queryable, destination: string, path: string, part: PartNote): Promise<void> {
  await sql`
    insert into pixl_pipeline.upload_part (destination, path, name, source, bytes, sha256)
    values (${destination}, ${path}, ${part.name}, ${part.source}, ${part.bytes}, ${part.sha256})
    on conflict (destination, path) do update
      set name = excluded.name, source = excluded.source, bytes = excluded.bytes, sha256 = excluded.sha256, noted_at = now()`;
}

/** See `Ledger.forgetPart`. */
export async function forgetPart(sql: Queryable, destination: string, path: string): Promise<void> {
  await sql`delete from pixl_pipeline.upload_part where destination = ${destination} and path = ${path}`;
}

/** See `Ledger.imagesOf`. */
export async function imagesOf(sql: Queryable, pseudonyms: readonly string[]): Promise<readonly KnownImage[]> {
  const rows = await sql<{ image_id: number; slug: string; pseudo_study_uid: string; state: string }[]>`
    select image_id, slug, pseudo_study_uid, state from pixl_pipeline.image
    where pseudo_study_uid = any(${[...pseudonyms]}::text[]) order by image_id`;
  return rows.map(({ image_id, slug, ...row }) => ({ imageId: image_id, projectSlug: slug, ...row }));
}

/** One page of a project's images that have a pseudonym, after the one with that id. */
export async function pseudonymisedPage(
  sql: Queryable,
  projectSlug: string,
  after: number,
  limit: number,
): Promise<readonly KnownImage[]> {
  const rows = await sql<{ image_id: number; slug: string; pseudo_study_uid: string; state: string }[]>`
    select image_id, slug, pseudo_study_uid, state from pixl_pipeline.image
    where slug = ${projectSlug} and pseudo_study_uid is not null and image_id > ${after}
    order by image_id limit ${limit}`;
  return rows.map(({ image_id, slug, ...row }) => ({ imageId: image_id, projectSlug: slug, ...row }));
}

/** See `Ledger.transfersTo`. */
export async function transfersTo(
  sql: Queryable,
  destination: string,
  projectSlug: string,
): Promise<readonly Pick<RecordedTransfer, "path" | "bytes" | "sha256">[]> {
  return await sql<{ path: string; bytes: number; sha256: string }[]>`
    select distinct on (path) path, bytes, sha256 from pixl_pipeline.transfer
    where destination = ${destination} and starts_with(path, ${`${projectSlug}/`})
    order by path, transfer_id desc`;
}

/** See `Ledger.unexport`. */
export async function unexport(sql: Queryable, imageId: number, to: "done" | "queued"): Promise<boolean> {
  const { count } = await sql`
    update pixl_pipeline.image
    set state = ${to}, exported_at = null, published_at = case when ${to} = 'queued' then null else published_at end
    where image_id = ${imageId} and state = 'exported'`;
  return count > 0;
}
