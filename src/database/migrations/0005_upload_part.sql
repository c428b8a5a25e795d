-- 0005: transfers that can go on after a crash, contents that come back to a path, and studies that a check found missing at the destination.

create table pixl_pipeline.upload_part (
  destination text not null,
  path text not null,
  name text not null,
  source text not null,
  bytes bigint not null check (bytes >= 0),
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  noted_at timestamptz not null default now(),
  primary key (destination, path)
);

-- A content may come back to a path after another one, so only the newest row says whether a transfer is news.
alter table pixl_pipeline.transfer drop constraint transfer_is_one_content_of_a_path;
create index transfer_to_path on pixl_pipeline.transfer (destination, path, transfer_id);

-- The lock comes first: whoever waited for it sees the other's row, and gets the greater transfer_id.
create function pixl_pipeline.record_transfer(
  extract_id bigint, image_id bigint, destination text, path text, bytes bigint, sha256 text, verified_by text, version text
) returns void language plpgsql set search_path = '' as $$
begin
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($3 || E'\n' || $4, 5));
  insert into pixl_pipeline.transfer (extract_id, image_id, destination, path, bytes, sha256, verified_by, version)
  select $1, $2, $3, $4, $5, $6, $7, $8
  where $6 is distinct from (
    select t.sha256 from pixl_pipeline.transfer t where t.destination = $3 and t.path = $4 order by t.transfer_id desc limit 1
  );
end
$$;
