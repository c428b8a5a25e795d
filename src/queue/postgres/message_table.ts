import type postgres from "postgres";
import type { OutgoingMessage, QueueDepth } from "../broker.ts";
import { queueMissing } from "./errors.ts";

/** A row in hand. */
export interface LeasedRow {
  /** Its key. */
  readonly message_id: number;
  /** The lease that it was taken under; see {@linkcode MessageTable.claim}. */
  readonly lease: string;
  /** The publisher's id. */
  readonly name: string;
  readonly body: Uint8Array;
  readonly attempt: number;
}

/** Which row under which lease. */
export type LeaseKey = Pick<LeasedRow, "message_id" | "lease">;

const MAX_REASON = 1_000;

/** The statements on the queue's tables. Each is one statement, so that each is whole or nothing. */
export class MessageTable {
  readonly #sql: postgres.Sql;

  constructor(sql: postgres.Sql) {
    this.#sql = sql;
  }

  async declare(queue: string): Promise<void> {
    await this.#sql`insert into pixl_pipeline.queue (queue) values (${queue}) on conflict do nothing`;
  }

  async check(queue: string): Promise<void> {
    const rows = await this.#sql`select from pixl_pipeline.queue where queue = ${queue}`;
    if (rows.length === 0) throw queueMissing(queue);
  }

  async insert(queue: string, messages: readonly OutgoingMessage[]): Promise<void> {
    const { count } = await this.#sql`
      insert into pixl_pipeline.message (queue, name, body)
      select queue, name, decode(body, 'base64')
      from pixl_pipeline.queue
      cross join unnest(
        ${messages.map(({ messageId }) => withoutNul(messageId))}::text[],
        ${messages.map(({ body }) => body.toBase64())}::text[]
      ) with ordinality as message (name, body, place)
      where queue = ${queue}
      order by place`;
    if (count !== messages.length) throw queueMissing(queue);
  }

  /**
   * Takes up to so many messages, first those whose lease ran out: that counts as an attempt, so that a message that kills its consumers does not go
   * round for ever.
   *
   * @param lease Names this very call, so that one owner's earlier lease on the same message is told from the later.
   */
  async claim(queue: string, lease: string, leaseMs: number, limit: number): Promise<LeasedRow[]> {
    return await this.#sql<LeasedRow[]>`
      with abandoned as (
        select message_id from pixl_pipeline.message
        where queue = ${queue} and lease_until < now()
        order by lease_until
        limit ${limit}
        for update skip locked
      ), waiting as (
        select message_id from pixl_pipeline.message
        where queue = ${queue} and lease_until is null and dead_at is null and available_at <= now()
        order by priority desc, available_at, message_id
        limit ${limit}
        for update skip locked
      ), claimed as (
        update pixl_pipeline.message m
        set lease_owner = ${lease}, lease_until = now() + ${leaseMs}::float8 * interval '1 millisecond',
          attempt = attempt + (m.lease_until is not null)::integer
        where m.message_id = any (array(
          select message_id from (select 1, message_id from abandoned union all select 2, message_id from waiting) both_kinds
          limit ${limit}
        ))
        returning m.*
      )
      select message_id, lease_owner as lease, name, body, attempt from claimed
      order by priority desc, available_at, message_id`;
  }

  /** Extends leases. @returns The keys of those that are still held. */
  async renew(held: readonly LeaseKey[], leaseMs: number): Promise<ReadonlySet<string>> {
    const rows = await this.#sql<LeaseKey[]>`
      update pixl_pipeline.message m
      set lease_until = now() + ${leaseMs}::float8 * interval '1 millisecond'
      from ${this.#keys(held)}
      where m.message_id = held.message_id and m.lease_owner = held.lease
      returning m.message_id, m.lease_owner as lease`;
    return new Set(rows.map(leaseKey));
  }

  /** Gives messages back to where they were. @returns How many were still held. */
  async release(held: readonly LeaseKey[]): Promise<number> {
    const { count } = await this.#sql`
      update pixl_pipeline.message m
      set lease_owner = null, lease_until = null
      from ${this.#keys(held)}
      where m.message_id = held.message_id and m.lease_owner = held.lease`;
    return count;
  }

  async delete({ message_id, lease }: LeaseKey): Promise<number> {
    const { count } = await this.#sql`
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

  async bury({ message_id, lease }: LeaseKey, reason: string): Promise<number> {
    const { count } = await this.#sql`
      update pixl_pipeline.message
      set lease_owner = null, lease_until = null, dead_at = now(), reason = ${withoutNul(reason).slice(0, MAX_REASON)}
      where message_id = ${message_id} and lease_owner = ${lease}`;
    return count;
  }

  async depth(queue: string): Promise<QueueDepth> {
    const [depth] = await this.#sql<(QueueDepth & { inHand: number })[]>`
      select
        count(*) filter (where dead_at is null and available_at <= now() and (lease_until is null or lease_until < now())) as ready,
        count(*) filter (where dead_at is null and lease_until is null and available_at > now()) as delayed,
        count(*) filter (where lease_until >= now()) as "inHand",
        count(*) filter (where dead_at is not null) as dead
      from pixl_pipeline.queue left join pixl_pipeline.message using (queue)
      where queue = ${queue}
      group by queue`;
    if (depth === undefined) throw queueMissing(queue);
    const { ready, delayed, inHand, dead } = depth;
    return { ready, delayed, inHand, dead };
  }

  async purge(queue: string): Promise<number> {
    await this.check(queue);
    const { count } = await this.#sql`
      delete from pixl_pipeline.message
      where queue = ${queue} and dead_at is null and (lease_until is null or lease_until < now())`;
    return count;
  }

  #keys(held: readonly LeaseKey[]) {
    return this.#sql`
      unnest(
        ${held.map(({ message_id }) => String(message_id))}::text[]::bigint[],
        ${held.map(({ lease }) => lease)}::text[]
      ) as held (message_id, lease)`;
  }
}

/** One text for both parts. */
export function leaseKey({ message_id, lease }: LeaseKey): string {
  return `${message_id} ${lease}`;
}

/** PostgreSQL's text takes no NUL. */
function withoutNul(text: string): string {
  return text.replaceAll("\0", "\ufffd");
}
