-- 0005: transfers that can go on after a crash, and studies that a check found missing at the destination.

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

-- What was exported may be sent again, or asked for again where its file is lost.
create or replace function pixl_pipeline.check_transition() returns trigger language plpgsql set search_path = '' as $$
begin
  if (old.state, new.state) not in (
    ('queued', 'working'), ('queued', 'failed'), ('working', 'done'), ('working', 'queued'), ('working', 'failed'),
    ('failed', 'queued'), ('failed', 'working'), ('done', 'exported'), ('exported', 'done'), ('exported', 'queued')
  ) then
    raise exception '% cannot go from % to %', tg_table_name, old.state, new.state using errcode = 'PX001';
  end if;
  new.updated_at := now();
  insert into pixl_pipeline.event (image_id, what, consumer, detail)
    values (new.image_id, tg_table_name || ' ' || new.state, coalesce(new.lease_owner, old.lease_owner),
      case when new.state in ('queued', 'failed') then new.last_error end);
  return new;
end
$$;
