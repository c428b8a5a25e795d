-- 0001: what was asked for, what became of every study, and every file that left.

-- A database of the Python PIXL is adopted: its tables `extract` and `image`, of the schema `pipeline` (2024) or `pixl_pipeline` (2026), keep their rows and
-- columns, and get what they lack. Where there is none, tables like those of 2026 are made first, so that there is one description of what follows.
do $$
begin
  if to_regclass('pipeline.image') is not null and to_regclass('pixl_pipeline.image') is null then
    alter table pipeline.extract set schema pixl_pipeline;
    alter table pipeline.image set schema pixl_pipeline;
    alter table pixl_pipeline.image rename column hashed_identifier to pseudo_study_uid;
  end if;
end
$$;
create table if not exists pixl_pipeline.extract (
  extract_id bigint primary key,
  slug text not null
);
create table if not exists pixl_pipeline.image (
  image_id bigint primary key,
  accession_number text not null,
  study_date date not null,
  mrn text not null,
  pseudo_study_uid text,
  exported_at timestamptz,
  extract_id bigint not null references pixl_pipeline.extract
);
alter table pixl_pipeline.image add column if not exists study_uid text;
alter table pixl_pipeline.extract
  alter column extract_id drop default,
  alter column extract_id type bigint,
  alter column slug type text,
  add column project_name text,
  add column extract_time text,
  add column time_slug text,
  -- How its tables lay in its folder.
  add column layout text,
  -- Null until all are registered.
  add column studies integer,
  -- Procedures that are no study, by reason.
  add column left_out jsonb,
  add column registered_at timestamptz not null default now();
alter table pixl_pipeline.image
  alter column image_id drop default,
  alter column image_id type bigint,
  alter column accession_number type text,
  alter column mrn type text,
  alter column pseudo_study_uid type text,
  alter column extract_id type bigint,
  alter column study_uid type text,
  add column slug text,
  add column procedure_occurrence_id bigint,
  add column state text not null default 'queued',
  add column attempts integer not null default 0,
  add column last_error text,
  add column lease_owner text,
  add column lease_until timestamptz,
  -- Null until the broker has confirmed the study's message.
  add column published_at timestamptz,
  add column updated_at timestamptz not null default now();
drop sequence if exists pixl_pipeline.extract_extract_id_seq;
drop sequence if exists pixl_pipeline.image_image_id_seq;
alter table pixl_pipeline.extract alter column extract_id add generated always as identity;
alter table pixl_pipeline.image alter column image_id add generated always as identity;
select setval(pg_get_serial_sequence('pixl_pipeline.extract', 'extract_id'), coalesce(max(extract_id), 0) + 1, false)
  from pixl_pipeline.extract;
select setval(pg_get_serial_sequence('pixl_pipeline.image', 'image_id'), coalesce(max(image_id), 0) + 1, false)
  from pixl_pipeline.image;

-- What the Python PIXL did not keep: an extract's time, so a day long ago, another for each; a procedure's number, so 0.
update pixl_pipeline.extract set
  project_name = slug,
  extract_time = to_char(timestamp '0001-01-01' + extract_id * interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS'),
  time_slug = 'adopted-' || extract_id;
update pixl_pipeline.image i set
  slug = e.slug,
  procedure_occurrence_id = 0,
  state = case when i.exported_at is null then 'queued' else 'exported' end
from pixl_pipeline.extract e where e.extract_id = i.extract_id;

-- The Python PIXL had no keys, so a study may stand twice. Which row is right is for people to say. The text holds no identifiers.
do $$
declare
  twins text;
begin
  select string_agg(ids, '; ') into twins from (
    select string_agg(image_id::text, ' and ' order by image_id) as ids from pixl_pipeline.image
      group by slug, mrn, accession_number, study_date having count(*) > 1
    union all
    select string_agg(image_id::text, ' and ' order by image_id) from pixl_pipeline.image
      where pseudo_study_uid is not null group by slug, pseudo_study_uid having count(*) > 1
    union
    select image_id::text || ' has no pseudonym' from pixl_pipeline.image where exported_at is not null and pseudo_study_uid is null
    limit 20
  ) twin;
  if twins is not null then
    raise exception 'rows of the table image with the image_id % are one study or have one pseudonym: keep one of each, then migrate again', twins
      using errcode = 'PX002';
  end if;
end
$$;

alter table pixl_pipeline.extract
  alter column project_name set not null,
  alter column extract_time set not null,
  alter column time_slug set not null,
  -- The original knew a project only by its slug and made twins when two populates ran at once.
  add constraint extract_is_one_time_of_a_project unique (slug, extract_time);
-- One row a study of a project, whichever extracts ask for it: a study is fetched and sent once.
alter table pixl_pipeline.image
  alter column slug set not null,
  alter column procedure_occurrence_id set not null,
  -- Checked by check_added() instead, once a statement: a foreign key is checked row by row, at half the time of a registration.
  drop constraint if exists image_extract_id_fkey,
  -- The accession number first, so that a study is found by it alone.
  add constraint image_is_one_study unique (accession_number, mrn, study_date, slug);
create unique index image_is_one_pseudonym on pixl_pipeline.image (pseudo_study_uid, slug) where pseudo_study_uid is not null;
-- Room on each page for the updates that every row sees, and no index on the state: then an update writes no index.
alter table pixl_pipeline.image set (fillfactor = 60);

-- One row a study of an extract: each extract has the reports as they were for it.
create table pixl_pipeline.report (
  report_id bigint generated always as identity primary key,
  extract_id bigint not null,
  image_id bigint not null,
  procedure_occurrence_id bigint not null,
  image_report text,
  state text not null default 'queued',
  attempts integer not null default 0,
  last_error text,
  lease_owner text,
  lease_until timestamptz,
  published_at timestamptz,
  updated_at timestamptz not null default now(),
  constraint report_is_one_study_of_an_extract unique (extract_id, image_id)
);
create index report_in_order on pixl_pipeline.report (extract_id, procedure_occurrence_id, report_id);
alter table pixl_pipeline.report set (fillfactor = 60);

-- Every file that a destination confirmed. Rows stay as they are: this is the record of what left the hospital.
create table pixl_pipeline.transfer (
  transfer_id bigint generated always as identity primary key,
  extract_id bigint references pixl_pipeline.extract,
  image_id bigint references pixl_pipeline.image,
  destination text not null,
  path text not null,
  bytes bigint not null check (bytes >= 0),
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  verified_by text not null,
  version text not null,
  transferred_at timestamptz not null default now(),
  constraint transfer_is_one_content_of_a_path unique (destination, path, sha256)
);
create index transfer_of_image on pixl_pipeline.transfer (image_id);

create function pixl_pipeline.refuse_change() returns trigger language plpgsql set search_path = '' as $$
begin
  raise exception '% rows are never changed or removed: they are the record of what was done', tg_table_name using errcode = 'PX001';
end
$$;
create trigger transfer_is_insert_only before update or delete or truncate on pixl_pipeline.transfer
  for each statement execute function pixl_pipeline.refuse_change();

-- The history of each study. `detail` never holds an identifier.
create table pixl_pipeline.event (
  event_id bigint generated always as identity,
  image_id bigint not null,
  what text not null,
  at timestamptz not null default clock_timestamp(),
  consumer text,
  detail text,
  primary key (image_id, event_id)
);
insert into pixl_pipeline.event (image_id, what, detail)
  select image_id, 'image adopted', state from pixl_pipeline.image order by image_id;

-- The one place that knows which state may follow which, and what each needs; it writes the event. It holds whatever program makes the change. All in one
-- function, since a constraint or a condition of a trigger is prepared anew for each statement, which costs more than the rest of a change of state.
-- `failed` may be worked on again: whoever sends the message anew wants that. `exported` may be set back when its file is found missing.
create function pixl_pipeline.check_change() returns trigger language plpgsql as $$
begin
  if old.state is distinct from new.state then
    if not (case old.state
      when 'queued' then new.state in ('working', 'failed')
      when 'working' then new.state in ('queued', 'done', 'failed')
      when 'failed' then new.state in ('queued', 'working')
      when 'done' then tg_table_name = 'image' and new.state = 'exported'
      when 'exported' then new.state in ('queued', 'done')
      else false
    end) then
      raise exception '% cannot go from % to %', tg_table_name, old.state, new.state using errcode = 'PX001';
    end if;
    new.updated_at := now();
    insert into pixl_pipeline.event (image_id, what, consumer, detail)
      values (new.image_id, tg_table_name || ' ' || new.state, coalesce(new.lease_owner, old.lease_owner),
        case when new.state in ('queued', 'failed') then new.last_error end);
  end if;
  if (new.state = 'working') <> (new.lease_owner is not null and new.lease_until is not null) then
    raise exception '% has a lease while it is working, and only then', tg_table_name using errcode = 'PX001';
  end if;
  if new.published_at <> old.published_at or (new.published_at is not null and old.published_at is null) then
    insert into pixl_pipeline.event (image_id, what) values (new.image_id, tg_table_name || ' published');
  end if;
  if new.state in ('done', 'exported') then
    -- Two conditions, since each table knows only one of the columns.
    if tg_table_name = 'image' then
      if new.pseudo_study_uid is null then
        raise exception 'image needs a pseudonym to be %', new.state using errcode = 'PX001';
      end if;
    elsif new.image_report is null then
      raise exception 'report needs a text to be %', new.state using errcode = 'PX001';
    end if;
  end if;
  return new;
end
$$;
create trigger image_change before update on pixl_pipeline.image
  for each row execute function pixl_pipeline.check_change();
create trigger report_change before update on pixl_pipeline.report
  for each row execute function pixl_pipeline.check_change();

-- What is added begins as queued and belongs to an extract, a report to an image too. Each row is looked up by key, however many there are.
create function pixl_pipeline.check_added() returns trigger language plpgsql set search_path = '' as $$
begin
  if exists (select from added a where a.state <> 'queued' or a.lease_owner is not null or a.lease_until is not null) then
    raise exception '% begins as queued', tg_table_name using errcode = 'PX001';
  end if;
  if exists (select from (select distinct extract_id from added) a
    where not exists (select from pixl_pipeline.extract e where e.extract_id = a.extract_id)) then
    raise exception '% must belong to an extract that is there', tg_table_name using errcode = 'foreign_key_violation';
  end if;
  if tg_table_name = 'report' and exists (
    select from added a where (select i.image_id from pixl_pipeline.image i where i.image_id = a.image_id) is null
  ) then
    raise exception 'report must belong to an image that is there' using errcode = 'foreign_key_violation';
  end if;
  return null;
end
$$;
create trigger image_added after insert on pixl_pipeline.image referencing new table as added
  for each statement execute function pixl_pipeline.check_added();
create trigger report_added after insert on pixl_pipeline.report referencing new table as added
  for each statement execute function pixl_pipeline.check_added();
-- So what was found there stays there.
create trigger extract_is_kept before update of extract_id or delete or truncate on pixl_pipeline.extract
  for each statement execute function pixl_pipeline.refuse_change();
create trigger image_is_kept before update of image_id, extract_id or delete or truncate on pixl_pipeline.image
  for each statement execute function pixl_pipeline.refuse_change();
create trigger report_is_kept before update of report_id, extract_id, image_id or delete or truncate on pixl_pipeline.report
  for each statement execute function pixl_pipeline.refuse_change();
create trigger event_is_insert_only before update or delete or truncate on pixl_pipeline.event
  for each statement execute function pixl_pipeline.refuse_change();

-- Rates that were set while running, so that a restart keeps them. In studies a second.
create table pixl_pipeline.rate_limit (
  queue text primary key,
  rate double precision not null check (rate >= 0 and rate < 'infinity'),
  updated_at timestamptz not null default now()
);
