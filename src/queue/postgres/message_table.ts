import type postgres from "postgres";
import type { OutgoingMessage } from "../broker.ts";
import { queueMissing } from "./errors.ts";
import { type LeasedRow, type LeaseKey, leaseKey } from "./rows.ts";

const MAX_REASON = 1_000;

/** The statements that publish, take and answer messages. Each is one statement, so that each is whole or nothing. */
export class MessageTable {
  readonly #sql: postgres.Sql;

  constructor(sql: postgres.Sql) {
    this.#sql = sql;
  }

  async insert(queue: string, messages: readonly OutgoingMessage[]): Promise<void> {
    // One JSON text is written and read faster than an array for each column.
    const rows = JSON.stringify(messages.map(({ messageId, body, priority, traceparent, attempt }) => ({
      name: withoutNul(messageId).toWellFormed(),
      body: body.toBase64(),
      priority,
      traceparent,
      attempt,
    })));
    const { count } = await this.#sql`
      insert into pixl_pipeline.message (queue, name, body, priority, traceparent, attempt)
      select queue, name, decode(body, 'base64'), coalesce(priority, 0), traceparent, coalesce(attempt, 1)
      from pixl_pipeline.queue
      cross join rows from (
        json_to_recordset(${rows}::text::json)
          as (name text, body text, priority integer, traceparent text, attempt integer)
      ) with ordinality as message (name, body, priority, traceparent, attempt, place)
      where queue = ${queue}
      order by place`;
    if (count !== messages.length) throw queueMissing(queue);
  }

  /**
   * Takes up to so many messages, first those whose lease ran out: that counts as an attempt, so that a message that kills its consumers does not go
   * round for ever.
   *
   * @param lease Names this very call, so that one owner's earlier lease on the same message is told from the later.
   * @param consumer Takes nothing unless this subscription is the active one.
   */
  async claim(
    queue: string,
    lease: string,
    leaseMs: number,
    limit: number,
    consumer?: string,
  ): Promise<LeasedRow[]> {
    const allowed = consumer === undefined ? this.#sql`true` : this.#sql`
      exists (select from pixl_pipeline.consumer where queue = ${queue} and owner = ${consumer} and active and until >= now())`;
    return await this.#sql<LeasedRow[]>`
      with abandoned as (
        select message_id from pixl_pipeline.message
        where queue = ${queue} and dead_at is null and lease_until < now() and available_at <= now() and ${allowed}
        order by lease_until
        limit ${limit}
        for update skip locked
      ), waiting as (
        select message_id from pixl_pipeline.message
        where queue = ${queue} and lease_until is null and dead_at is null and available_at <= now() and ${allowed}
        order by priority desc, available_at, message_id
        limit ${limit}
        for update skip locked
      ), claimed as (
        update pixl_pipeline.message m
        set lease_owner = ${lease}, lease_until = now() + ${leaseMs}::float8 * interval '1 millisecond',
          attempt = attempt + (m.lease_until is not null and not m.shown)::integer, shown = false
        where m.message_id = any (array(
          select message_id from (select 1, message_id from abandoned union all select 2, message_id from waiting) both_kinds
          limit ${limit}
        ))
        returning m.*
      )
      select message_id, lease_owner as lease, name, body, attempt, priority, traceparent,
        to_char(published_at at time zone 'UTC', ${ISO}) as published_at
      from claimed
      order by claimed.priority desc, claimed.available_at, message_id`;
  }

  /** Extends leases. @returns The keys of those that are still held. */
  async renew(held: readonly LeaseKey[], leaseMs: number): Promise<ReadonlySet<string>> {
    const rows = await this.#sql<LeaseKey[]>`
      update pixl_pipeline.message m
      set lease_until = now() + ${leaseMs}::float8 * interval '1 millisecond'
      from ${leaseKeys(this.#sql, held)}
      where m.message_id = held.message_id and m.lease_owner = held.lease
      returning m.message_id, m.lease_owner as lease`;
    return new Set(rows.map(leaseKey));
  }

  /** Gives messages back to where they were. @returns How many were still held. */
  async release(held: readonly LeaseKey[]): Promise<number> {
    const { count } = await this.#sql`
      update pixl_pipeline.message m
      set lease_owner = null, lease_until = null, shown = false
      from ${leaseKeys(this.#sql, held)}
      where m.message_id = held.message_id and m.lease_owner = held.lease`;
    return count;
  }

  /** @param sql The transaction that it belongs to, if any. */
  async delete({ message_id, lease }: LeaseKey, sql: postgres.ISql = this.#sql): Promise<number> {
    const { count } = await sql`
      delete from pixl_pipeline.message where message_id = ${message_id} and lease_owner = ${lease}`;
    return count;
  }

  async postpone({ message_id, lease }: LeaseKey, delayMs: number, attempts: number): Promise<number> {
    const { count } = await this.#sql`
      update pixl_pipeline.message
      set lease_owner = null, lease_until = null, attempt = attempt + ${attempts},
        available_at = now() + ${delayMs}::float8 * interval '1 millisecond'
      where message_id = ${message_id} and lease_owner = ${lease}`;
    return count;
  }

  async bury({ message_id, lease }: LeaseKey, reason: string, errorClass?: string): Promise<number> {
    const { count } = await this.#sql`
      update pixl_pipeline.message
      set lease_owner = null, lease_until = null, dead_at = now(), reason = ${shortened(reason)},
        error_class = ${errorClass === undefined ? null : shortened(errorClass)}
      where message_id = ${message_id} and lease_owner = ${lease}`;
    return count;
  }
}

/** How {@linkcode MessageRow} has its times, for `to_char`. */
export const ISO = 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"';

/** The keys as a table `held (message_id, lease)`. */
export function leaseKeys(sql: postgres.Sql, held: readonly LeaseKey[]): postgres.PendingQuery<postgres.Row[]> {
  return sql`
    unnest(
      ${held.map(({ message_id }) => String(message_id))}::text[]::bigint[],
      ${held.map(({ lease }) => lease)}::text[]
    ) as held (message_id, lease)`;
}

/** PostgreSQL's text takes no NUL. */
function withoutNul(text: string): string {
  return text.replaceAll("\0", "\ufffd");
}

function shortened(text: string): string {
  return withoutNul(text).slice(0, MAX_REASON);
}
