-- 0001: what was asked for, what became of every study, and every file that left.

create table pixl_pipeline.extract (
  extract_id bigint generated always as identity primary key,
  slug text not null,
  project_name text not null,
  extract_time text not null,
  time_slug text not null,
  studies integer,
  registered_at timestamptz not null default now(),
  -- The original knew a project only by its slug and made twins when two populates ran at once.
  constraint extract_is_one_time_of_a_project unique (slug, extract_time)
);

-- One row a study of a project, whichever extracts ask for it: a study is fetched and sent once.
create table pixl_pipeline.image (
  image_id bigint generated always as identity primary key,
  slug text not null,
  extract_id bigint not null references pixl_pipeline.extract,
  mrn text not null,
  accession_number text not null,
  study_date date not null,
  study_uid text,
  procedure_occurrence_id bigint not null,
  pseudo_study_uid text,
  state text not null default 'queued',
  attempts integer not null default 0,
  last_error text,
  lease_owner text,
  lease_until timestamptz,
  -- Null until the broker has confirmed the study's message.
  published_at timestamptz,
  exported_at timestamptz,
  updated_at timestamptz not null default now(),
  constraint image_state_is_known check (state in ('queued', 'working', 'done', 'exported', 'failed')),
  constraint image_is_leased_while_working check ((state = 'working') = (lease_owner is not null and lease_until is not null)),
  constraint image_has_a_pseudonym_when_done check (state not in ('done', 'exported') or pseudo_study_uid is not null),
  constraint image_is_one_study unique (slug, mrn, accession_number, study_date),
  constraint image_is_one_pseudonym unique (slug, pseudo_study_uid)
);
create index image_to_upload on pixl_pipeline.image (image_id) where state = 'done';

-- One row a study of an extract: each extract has the reports as they were for it.
create table pixl_pipeline.report (
  report_id bigint generated always as identity primary key,
  extract_id bigint not null references pixl_pipeline.extract,
  image_id bigint not null references pixl_pipeline.image,
  procedure_occurrence_id bigint not null,
  image_report text,
  state text not null default 'queued',
  attempts integer not null default 0,
  last_error text,
  lease_owner text,
  lease_until timestamptz,
  published_at timestamptz,
  updated_at timestamptz not null default now(),
  constraint report_state_is_known check (state in ('queued', 'working', 'done', 'failed')),
  constraint report_is_leased_while_working check ((state = 'working') = (lease_owner is not null and lease_until is not null)),
  constraint report_is_one_study_of_an_extract unique (extract_id, image_id)
);
create index report_in_order on pixl_pipeline.report (extract_id, procedure_occurrence_id, report_id);
create index report_of_image on pixl_pipeline.report (image_id);

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
  raise exception 'transfer rows are never changed' using errcode = 'PX001';
end
$$;
create trigger transfer_is_insert_only before update or delete or truncate on pixl_pipeline.transfer
  for each statement execute function pixl_pipeline.refuse_change();

-- The history of each study. `detail` never holds an identifier.
create table pixl_pipeline.event (
  event_id bigint generated always as identity primary key,
  image_id bigint not null references pixl_pipeline.image,
  what text not null,
  at timestamptz not null default clock_timestamp(),
  consumer text,
  detail text
);
create index event_of_image on pixl_pipeline.event (image_id, event_id);

-- The one place that knows which state may follow which. `failed` may be worked on again: whoever sends the message anew wants that.
create function pixl_pipeline.check_transition() returns trigger language plpgsql set search_path = '' as $$
begin
  if (old.state, new.state) not in (
    ('queued', 'working'), ('queued', 'failed'), ('working', 'done'), ('working', 'queued'), ('working', 'failed'),
    ('failed', 'queued'), ('failed', 'working'), ('done', 'exported')
  ) then
    raise exception '% cannot go from % to %', tg_table_name, old.state, new.state using errcode = 'PX001';
  end if;
  new.updated_at := now();
  insert into pixl_pipeline.event (image_id, what, consumer, detail)
    values (new.image_id, tg_table_name || ' ' || new.state, coalesce(new.lease_owner, old.lease_owner), new.last_error);
  return new;
end
$$;
create trigger image_transition before update of state on pixl_pipeline.image
  for each row when (old.state is distinct from new.state) execute function pixl_pipeline.check_transition();
create trigger report_transition before update of state on pixl_pipeline.report
  for each row when (old.state is distinct from new.state) execute function pixl_pipeline.check_transition();

-- Rates that were set while running, so that a restart keeps them. In studies a second.
create table pixl_pipeline.rate_limit (
  queue text primary key,
  rate double precision not null check (rate >= 0 and rate < 'infinity'),
  updated_at timestamptz not null default now()
);
