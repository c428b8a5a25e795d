import { deadline } from "@std/async";
import type postgres from "postgres";
import type { Abortable, KeptMessage, Verdict, WalkOptions } from "../broker.ts";
import { deliveryLost, queueError } from "./errors.ts";
import { CALL_MS, CLOSE_MS } from "./limits.ts";
import type { Leases } from "./leases.ts";
import { ISO, leaseKeys, type MessageTable } from "./message_table.ts";
import { keptMessage, type LeasedRow } from "./rows.ts";

/** Where messages are looked at, and by whom. */
export interface Walk {
  readonly sql: postgres.Sql;
  readonly table: MessageTable;
  readonly leases: Leases;
  readonly leaseMs: number;
  readonly queue: string;
  readonly place: "waiting" | "dead";
  /** Names a lease that nobody had before. @throws {QueueError} `closed` if the broker was. */
  readonly nextLease: () => string;
}

/** The bodies of a batch may have so many bytes and one more body. */
const BATCH_BYTES = 4 << 20;

interface ShownRow extends LeasedRow {
  /** Null while it is alive, ISO 8601 in UTC. */
  readonly dead_at: string | null;
  /** The same to the microsecond. */
  readonly cursor: string | null;
  readonly reason: string | null;
  readonly error_class: string | null;
}

type Visit = (batch: readonly KeptMessage[]) => Promise<readonly Verdict[]>;

/**
 * Shows the messages of a queue; see `Broker.walk`. Each batch is leased while it is shown, so that a killed process keeps nothing, and answered in
 * one statement. Waiting ones come in the order in which they were published.
 *
 * @returns How many were shown.
 */
export async function walk(walk: Walk, visit: Visit, { batch = 500, signal }: WalkOptions): Promise<number> {
  if (!(Number.isSafeInteger(batch) && batch >= 1)) {
    throw new RangeError(`Cannot walk as 'batch' must be a whole number of at least 1: current value is ${batch}`);
  }
  const waiting = signal === undefined ? {} : { signal };
  const end = await asked(walk, now(walk.sql), waiting);
  let shown = 0;
  let last: ShownRow | undefined;
  do {
    signal?.throwIfAborted();
    const since = performance.now();
    const page = take(walk, last, end, batch);
    const rows = await asked(walk, page, waiting).catch((error) => {
      // What was taken all the same is given back.
      page.then((late) => walk.table.release(late)).catch(() => {});
      throw error;
    });
    if (rows.length > 0) await show(walk, rows, since, visit);
    shown += rows.length;
    last = rows.at(-1);
  } while (last !== undefined);
  return shown;
}

async function show(walk: Walk, rows: readonly ShownRow[], since: number, visit: Visit): Promise<void> {
  const { sql, table, leases } = walk;
  for (const row of rows) leases.keep(row, since);
  try {
    const verdicts = await visit(rows.map(shownMessage));
    if (verdicts.length !== rows.length) {
      throw new RangeError(
        `Cannot walk as the visitor must return ${rows.length} verdicts: it returned ${verdicts.length}`,
      );
    }
    // Also after an abort: what was decided is done, or a drained message would stay on its queue.
    if (await asked(walk, settle(sql, rows, verdicts), {}) !== rows.length) throw deliveryLost();
  } catch (error) {
    // If the database is gone they come back when their leases have run out.
    await deadline(table.release(rows), CLOSE_MS).catch(() => {});
    throw error;
  } finally {
    for (const row of rows) leases.drop(row);
  }
}

function shownMessage(row: ShownRow): KeptMessage {
  const { dead_at: at, reason, error_class: errorClass } = row;
  if (at === null) return keptMessage(row);
  return {
    ...keptMessage(row),
    death: { reason: reason ?? "", at, ...(errorClass === null ? {} : { errorClass }) },
  };
}

/** The visitor's own errors are nobody else's business, the database's are ours. */
async function asked<T>({ queue }: Walk, answer: Promise<T>, { signal }: Abortable): Promise<T> {
  try {
    return await deadline(answer, CALL_MS, signal === undefined ? {} : { signal });
  } catch (error) {
    if (signal?.aborted && error === signal.reason) throw error;
    throw queueError(`walk through the queue '${queue}'`, error);
  }
}

/** The server's time: what comes in later is not looked at. */
async function now(sql: postgres.Sql): Promise<string> {
  const [row] = await sql<{ now: string }[]>`select now()::text as now`;
  return row?.now ?? "infinity";
}

async function take(
  { sql, queue, place, leaseMs, nextLease }: Walk,
  last: ShownRow | undefined,
  end: string,
  batch: number,
): Promise<ShownRow[]> {
  const time = place === "dead" ? sql`dead_at` : sql`published_at`;
  const order = place === "dead" ? sql`dead_at, message_id` : sql`message_id`;
  const after = last === undefined
    ? sql`true`
    : place === "dead"
    ? sql`(dead_at, message_id) > (${last.cursor}::text::timestamptz, ${last.message_id})`
    : sql`message_id > ${last.message_id}`;
  return await sql<ShownRow[]>`
    with page as (
      select message_id, dead_at, octet_length(body) as bytes from pixl_pipeline.message
      where queue = ${queue} and dead_at is ${place === "dead" ? sql`not null` : sql`null`}
        and (lease_until is null or lease_until < now()) and ${time} <= ${end}::text::timestamptz and ${after}
      order by ${order}
      limit ${batch}
      for update skip locked
    ), sized as (
      select message_id, sum(bytes) over (order by ${order}) - bytes as before from page
    ), shown as (
      update pixl_pipeline.message m
      set lease_owner = ${nextLease()}, lease_until = now() + ${leaseMs}::float8 * interval '1 millisecond',
        attempt = attempt + (m.lease_until is not null and not m.shown)::integer, shown = true
      from sized
      where m.message_id = sized.message_id and sized.before < ${BATCH_BYTES}
      returning m.*
    )
    select message_id, lease_owner as lease, name, body, attempt, priority, traceparent, reason, error_class,
      to_char(published_at at time zone 'UTC', ${ISO}) as published_at,
      to_char(dead_at at time zone 'UTC', ${ISO}) as dead_at,
      dead_at::text as cursor
    from shown
    order by ${place === "dead" ? sql`shown.dead_at, message_id` : sql`message_id`}`;
}

/** Does what the visitor said with those that are still held. @returns How many. */
async function settle(
  sql: postgres.Sql,
  rows: readonly ShownRow[],
  verdicts: readonly Verdict[],
): Promise<number> {
  const withVerdict = (wanted: Verdict) => leaseKeys(sql, rows.filter((_, i) => verdicts[i] === wanted));
  const held = sql`m.message_id = held.message_id and m.lease_owner = held.lease`;
  const [row] = await sql<{ settled: number }[]>`
    with deleted as (
      delete from pixl_pipeline.message m using ${withVerdict("delete")} where ${held} returning 1
    ), kept as (
      update pixl_pipeline.message m set lease_owner = null, lease_until = null, shown = false
      from ${withVerdict("keep")} where ${held}
      returning 1
    ), requeued as (
      update pixl_pipeline.message m
      set lease_owner = null, lease_until = null, shown = false, attempt = 1, dead_at = null, reason = null, error_class = null,
        available_at = case when m.dead_at is null then least(m.available_at, now()) else now() end
      from ${withVerdict("requeue")} where ${held}
      returning 1
    )
    select (select count(*) from deleted) + (select count(*) from kept) + (select count(*) from requeued) as settled`;
  return row?.settled ?? 0;
}
