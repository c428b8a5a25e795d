import type postgres from "postgres";
import type { QueueDepth } from "../broker.ts";
import { queueMissing } from "./errors.ts";

/** The statements that look after a whole queue. */
export class QueueTable {
  readonly #sql: postgres.Sql;

  constructor(sql: postgres.Sql) {
    this.#sql = sql;
  }

  async declare(queue: string): Promise<void> {
    await this.#sql`insert into pixl_pipeline.queue (queue) values (${queue}) on conflict do nothing`;
  }

  /** @throws {QueueError} `queue-missing` if nobody declared it. */
  async check(queue: string): Promise<void> {
    const rows = await this.#sql`select from pixl_pipeline.queue where queue = ${queue}`;
    if (rows.length === 0) throw queueMissing(queue);
  }

  async depth(queue: string): Promise<QueueDepth> {
    const [depth] = await this.#sql<(QueueDepth & { inHand: number })[]>`
      select
        count(*) filter (where dead_at is null and available_at <= now() and (lease_until is null or lease_until < now())) as ready,
        count(*) filter (where dead_at is null and available_at > now() and (lease_until is null or lease_until < now())) as delayed,
        count(*) filter (where dead_at is null and lease_until >= now()) as "inHand",
        count(*) filter (where dead_at is not null) as dead,
        (select count(*) from pixl_pipeline.consumer where queue = ${queue} and until >= now()) as consumers
      from pixl_pipeline.queue left join pixl_pipeline.message using (queue)
      where queue = ${queue}
      group by queue`;
    if (depth === undefined) throw queueMissing(queue);
    const { ready, delayed, inHand, dead, consumers } = depth;
    return { ready, delayed, inHand, dead, consumers };
  }

  /** Of the message that {@linkcode MessageTable.claim} would take now. */
  async age(queue: string): Promise<number | undefined> {
    await this.check(queue);
    const [row] = await this.#sql<{ age: number }[]>`
      select greatest(extract(epoch from now() - published_at) * 1000, 0)::float8 as age
      from (
        (
          select 1 as place, published_at from pixl_pipeline.message
          where queue = ${queue} and dead_at is null and lease_until < now() and available_at <= now()
          order by lease_until
          limit 1
        ) union all (
          select 2, published_at from pixl_pipeline.message
          where queue = ${queue} and lease_until is null and dead_at is null and available_at <= now()
          order by priority desc, available_at, message_id
          limit 1
        )
      ) next
      order by place
      limit 1`;
    return row?.age;
  }

  async purge(queue: string): Promise<number> {
    await this.check(queue);
    const { count } = await this.#sql`
      delete from pixl_pipeline.message
      where queue = ${queue} and dead_at is null and (lease_until is null or lease_until < now())`;
    return count;
  }

  /** Tells the planner how much there is now. A server does so by itself, later. */
  async analyze(): Promise<void> {
    await this.#sql`analyze pixl_pipeline.message`;
  }
}
