-- 0002: a message queue, for where no broker is installed.

create table pixl_pipeline.queue (
  queue text primary key,
  declared_at timestamptz not null default now()
);

create table pixl_pipeline.message (
  message_id bigint generated always as identity primary key,
  queue text not null,
  -- 1 to 5, the most urgent; 0 if nothing was said.
  priority integer not null default 0,
  name text not null,
  body bytea not null,
  traceparent text,
  attempt integer not null default 1,
  published_at timestamptz not null default now(),
  available_at timestamptz not null default now(),
  lease_owner text,
  lease_until timestamptz,
  -- In hand to be looked at only, which is no attempt.
  shown boolean not null default false,
  dead_at timestamptz,
  reason text,
  error_class text,
  constraint message_lease_is_whole check ((lease_owner is null) = (lease_until is null)),
  constraint message_is_shown_under_a_lease check (lease_owner is not null or not shown),
  constraint message_is_in_hand_or_dead check (lease_owner is null or dead_at is null or shown)
);
-- Each state has an index of its own, so that taking a message costs the same however many wait, are in hand or dead.
create index message_waiting on pixl_pipeline.message (queue, priority desc, available_at, message_id)
  where lease_until is null and dead_at is null;
create index message_in_hand on pixl_pipeline.message (queue, lease_until) where lease_until is not null and dead_at is null;
create index message_dead on pixl_pipeline.message (queue, dead_at, message_id) where dead_at is not null;
-- Rows come and go all the time: clean up long before a fifth of the table is dead.
alter table pixl_pipeline.message set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- The subscriptions of all processes; one whose time has run out is gone.
create table pixl_pipeline.consumer (
  queue text not null,
  owner text not null,
  -- Takes messages, of those of which only one may.
  active boolean not null default false,
  until timestamptz not null,
  primary key (queue, owner)
);
create unique index consumer_is_active_alone on pixl_pipeline.consumer (queue) where active;
