import { LeaseLostError } from "../errors.ts";
import type { Queryable } from "../sql.ts";
import type { KnownImage, Lease, PartNote, RecordedTransfer } from "./types.ts";

/** SHA-256 of nothing. */
const NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** See `Ledger.claimUpload`. */
export async function claimUpload(
  sql: Queryable,
  destination: string,
  path: string,
  name: string,
  { owner, leaseMs }: Lease,
): Promise<PartNote | undefined> {
  const [row] = await sql<PartNote[]>`
    insert into pixl_pipeline.upload_part as part
      (destination, path, name, source, bytes, sha256, lease_owner, lease_until)
    values (${destination}, ${path}, ${name}, '', 0, ${NOTHING}, ${owner}, now() + ${leaseMs} * interval '1 ms')
    on conflict (destination, path) do update
      set lease_owner = excluded.lease_owner, lease_until = excluded.lease_until
      where part.lease_until is null or part.lease_until <= now() or part.lease_owner = excluded.lease_owner
    returning name, source, bytes, sha256`;
  return row && { name: row.name, source: row.source, bytes: row.bytes, sha256: row.sha256 };
}

/** See `Ledger.renewUpload`. */
export async function renewUpload(
  sql: Queryable,
  destination: string,
  path: string,
  { owner, leaseMs }: Lease,
): Promise<void> {
  const { count } = await sql`
    update pixl_pipeline.upload_part set lease_until = now() + ${leaseMs} * interval '1 ms'
    where destination = ${destination} and path = ${path} and lease_owner = ${owner}`;
  if (count === 0) throw new LeaseLostError("upload", path, owner);
}

/** See `Ledger.notePart`. */
export async function notePart(
  sql: Queryable,
  destination: string,
  path: string,
  part: PartNote,
  owner: string,
): Promise<void> {
  await sql`
    update pixl_pipeline.upload_part
    set name = ${part.name}, source = ${part.source}, bytes = ${part.bytes}, sha256 = ${part.sha256}, noted_at = now()
    where destination = ${destination} and path = ${path} and lease_owner = ${owner}`;
}

/** See `Ledger.releaseUpload`. */
export async function releaseUpload(
  sql: Queryable,
  destination: string,
  path: string,
  owner: string,
): Promise<void> {
  await sql`
    update pixl_pipeline.upload_part set lease_owner = null, lease_until = null
    where destination = ${destination} and path = ${path} and lease_owner = ${owner}`;
}

/** See `Ledger.forgetPart`. */
export async function forgetPart(sql: Queryable, destination: string, path: string, owner: string): Promise<void> {
  await sql`
    delete from pixl_pipeline.upload_part
    where destination = ${destination} and path = ${path} and lease_owner = ${owner}`;
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
