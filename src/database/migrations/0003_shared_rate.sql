-- 0003: one bucket of tokens a queue, shared by all processes on all hosts that take from it. The clock is this server's.

alter table pixl_pipeline.rate_limit rename column updated_at to rate_set_at;
alter table pixl_pipeline.rate_limit
  -- Null: never set, so each consumer's own setting holds.
  alter column rate drop not null,
  alter column rate_set_at drop not null,
  alter column rate_set_at drop default,
  add column capacity integer,
  -- Tokens there were at `settled_at`. That is ahead of now while tokens are booked that are not yet earned; then there are none.
  add column tokens double precision not null default 1,
  add column settled_at timestamptz not null default clock_timestamp(),
  -- Grows with each change, so that a consumer sees that what it has booked is void.
  add column version bigint not null default 0,
  -- As RateSchedule.parse() reads it.
  add column schedule text,
  add constraint rate_limit_capacity_is_positive check (capacity >= 1),
  add constraint rate_limit_tokens_are_finite check (tokens >= 0 and tokens < 'infinity');

-- Books tokens: those there are, and those that will be earned within the horizon. Each has a time at which it is due, one after the other at the
-- rate, so whoever booked them need not come back for each. At most `wanted`; if any, at least `least`, the last of which may be due later.
create function pixl_pipeline.book_tokens(
  in p_queue text, in p_rate double precision, in p_capacity integer, in p_wanted integer, in p_least integer, in p_horizon interval,
  out rate double precision, out capacity integer, out version bigint, out booked integer,
  -- Seconds from now until the first of these, and the first that nobody has booked, is due; negative if it has been for so long.
  out first_due double precision, out next_due double precision
) language plpgsql set search_path = '' as $$
declare
  bucket pixl_pipeline.rate_limit;
  moment timestamptz;
  horizon constant double precision := extract(epoch from p_horizon);
  ahead double precision;
  level double precision;
begin
  loop
    select * into bucket from pixl_pipeline.rate_limit l where l.queue = p_queue for update;
    exit when found;
    insert into pixl_pipeline.rate_limit (queue) values (p_queue) on conflict do nothing;
  end loop;
  moment := clock_timestamp();
  rate := coalesce(bucket.rate, p_rate);
  capacity := coalesce(bucket.capacity, p_capacity);
  version := bucket.version;
  booked := 0;
  if rate = 0 then
    return;
  end if;

  ahead := extract(epoch from bucket.settled_at - moment);
  if ahead > 1 + horizon + capacity / rate then
    -- Nobody books so far ahead, and a change of rate leaves a second: the clock was set back.
    ahead := 0;
    update pixl_pipeline.rate_limit l set settled_at = moment where l.queue = p_queue;
  end if;
  level := least(capacity, bucket.tokens + greatest(0, -ahead) * least(rate, 1e9));
  ahead := greatest(0, ahead);
  -- The token number i is due when the level reaches i. A billionth, for what arithmetic rounds off.
  booked := greatest(0, least(p_wanted, floor(least(level + (horizon - ahead) * least(rate, 1e9), 1e9) + 1e-9)));
  if booked > 0 then
    booked := greatest(booked, least(p_least, capacity));
    first_due := ahead + (1 - level) / rate;
    if booked > level then
      -- Rounded up: a microsecond too early would be a part of a token too much.
      ahead := ceil((ahead + (booked - level) / rate) * 1e6) / 1e6;
      level := 0;
    else
      level := level - booked;
    end if;
    update pixl_pipeline.rate_limit l set tokens = level, settled_at = moment + make_interval(secs => ahead) where l.queue = p_queue;
  end if;
  next_due := ahead + (1 - level) / rate;
end
$$;

-- Sets what is not null. What was earned so far is counted at the old rate; what is booked stays so for a second, after which no consumer uses it.
create function pixl_pipeline.set_rate_limit(
  p_queue text, p_rate double precision, p_capacity integer,
  -- Nothing is done if the rate was set since then.
  p_unless_set_since timestamptz default null
) returns boolean language plpgsql set search_path = '' as $$
declare
  bucket pixl_pipeline.rate_limit;
  moment timestamptz;
begin
  loop
    select * into bucket from pixl_pipeline.rate_limit l where l.queue = p_queue for update;
    exit when found;
    insert into pixl_pipeline.rate_limit (queue) values (p_queue) on conflict do nothing;
  end loop;
  if bucket.rate_set_at >= p_unless_set_since then
    return false;
  end if;
  moment := clock_timestamp();
  update pixl_pipeline.rate_limit l set
    rate = coalesce(p_rate, bucket.rate),
    capacity = coalesce(p_capacity, bucket.capacity),
    rate_set_at = case when p_rate is null then bucket.rate_set_at else moment end,
    tokens = least(
      coalesce(p_capacity, bucket.capacity, 'infinity'::double precision),
      -- A rate that was never set is not known here: its tokens are forgotten, rather than too many minted.
      bucket.tokens + greatest(0, extract(epoch from moment - bucket.settled_at)) * least(coalesce(bucket.rate, 0), 1e9)
    ),
    settled_at = case when bucket.settled_at < moment then moment else least(bucket.settled_at, moment + interval '1 second') end,
    version = bucket.version + 1
  where l.queue = p_queue;
  return true;
end
$$;
