import { deadline } from "@std/async";
import type postgres from "postgres";

/** A subscription, as other processes see it. */
export interface Registration {
  readonly queue: string;
  readonly owner: string;
}

/** The subscriptions of one broker: says in the database that they are there, as long as they are. */
export class Consumers {
  readonly #sql: postgres.Sql;
  readonly #leaseMs: number;
  readonly #here = new Set<Registration>();
  readonly #beat: () => void;
  #ticking: Promise<void> = Promise.resolve();
  #closed = false;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param leaseMs How long they count without a sign of life; renewed three times in that time. @param beat Called each time. */
  constructor(sql: postgres.Sql, leaseMs: number, beat: () => void) {
    this.#sql = sql;
    this.#leaseMs = leaseMs;
    this.#beat = beat;
  }

  /** From now on it is there, unless it was removed or all was closed meanwhile. */
  async add(registration: Registration): Promise<void> {
    if (this.#closed) return;
    this.#here.add(registration);
    this.#timer ??= setInterval(() => this.#ticking = this.#tick(), this.#leaseMs / 3);
    await this.#renew([registration]);
    if (!this.#here.has(registration)) await this.remove(registration);
  }

  /** None is renewed any more. */
  close(): void {
    this.#closed = true;
    this.#here.clear();
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** It is gone. Never rejects: what cannot be deleted runs out. */
  async remove(registration: Registration): Promise<void> {
    this.#here.delete(registration);
    if (this.#here.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
    // A renewal that is under way would bring it back.
    await deadline(this.#ticking, CLOSE_MS).catch(() => {});
    const { queue, owner } = registration;
    const gone = this.#sql`delete from pixl_pipeline.consumer where queue = ${queue} and owner = ${owner}`;
    await deadline(gone, CLOSE_MS).catch(() => {});
  }

  /** Makes it the one that takes messages, unless there is another. @returns Whether it is. */
  async activate({ queue, owner }: Registration): Promise<boolean> {
    await this.#sql`delete from pixl_pipeline.consumer where queue = ${queue} and active and until < now()`;
    try {
      const { count } = await this.#sql`
        insert into pixl_pipeline.consumer (queue, owner, active, until)
        select ${queue}, ${owner}, true, now() + ${this.#leaseMs}::float8 * interval '1 millisecond'
        where not exists (select from pixl_pipeline.consumer where queue = ${queue} and active and owner <> ${owner})
        on conflict (queue, owner) do update set active = true, until = excluded.until`;
      return count === 1;
    } catch (error) {
      // 23505 unique_violation: another did it at the same moment.
      if (error instanceof Error && "code" in error && error.code === "23505") return false;
      throw error;
    }
  }

  /** Never rejects. */
  async #tick(): Promise<void> {
    // The database may be back by the next time.
    await deadline(this.#renew([...this.#here]), this.#leaseMs / 3).catch(() => {});
    this.#beat();
  }

  /** Also clears away what has run out. It may be there again with its next renewal. */
  async #renew(registrations: readonly Registration[]): Promise<void> {
    await this.#sql`
      with gone as (
        select queue, owner from pixl_pipeline.consumer where until < now() for update skip locked
      ), cleared as (
        delete from pixl_pipeline.consumer c using gone where c.queue = gone.queue and c.owner = gone.owner
          and c.owner <> all (${registrations.map(({ owner }) => owner)}::text[])
      )
      insert into pixl_pipeline.consumer (queue, owner, until)
      select queue, owner, now() + ${this.#leaseMs}::float8 * interval '1 millisecond'
      from unnest(
        ${registrations.map(({ queue }) => queue)}::text[],
        ${registrations.map(({ owner }) => owner)}::text[]
      ) as registration (queue, owner)
      on conflict (queue, owner) do update set until = excluded.until`;
  }
}

/** Time allowed to a goodbye, in milliseconds. */
const CLOSE_MS = 2_000;
