import type { Database } from "./database.ts";
import { checkCapacity, checkRate } from "../rate_limiter/checks.ts";
import { run } from "./failure.ts";
import type { Booking, BookingRequest, RateChange, TokenStore } from "../rate_limiter/token_store.ts";
import type { LedgerCall } from "./ledger/types.ts";

/** The largest `integer` of PostgreSQL. */
const MOST_CAPACITY = 2 ** 31 - 1;

/** What was set of a queue's rate; what never was is left out. */
export interface RateSettings {
  /** Studies a second; 0 is paused. */
  readonly rate?: number;
  /** When the rate was set, by hand or by a schedule, in milliseconds since 1970. */
  readonly rateSetAt?: number;
  /** Most studies at once. */
  readonly capacity?: number;
  /** Rates by weekday and time, as `RateSchedule.parse` of `@pixl/core/rate-limiter` reads it. */
  readonly schedule?: string;
}

/**
 * One queue's tokens, shared by all that work with this database: the store of a `SharedTokenBucket` of `@pixl/core/rate-limiter`. The database's
 * clock counts, so those of the hosts need not agree.
 *
 * Every method rejects with a {@linkcode DatabaseError} if the database does.
 *
 * @example
 * ```ts
 * import { migrate, openDatabase, SharedRate } from "@pixl/core/database";
 * import { SharedTokenBucket } from "@pixl/core/rate-limiter";
 *
 * await using database = await openDatabase({ kind: "embedded", dir: await Deno.makeTempDir() });
 * await migrate(database);
 * const store = new SharedRate(database, "pacs", { rate: 5, capacity: 5 });
 * await using bucket = await SharedTokenBucket.open(store);
 * await bucket.take();
 * ```
 */
export class SharedRate implements TokenStore {
  readonly #database: Database;
  readonly #queue: string;
  readonly #defaults: { readonly rate: number; readonly capacity: number };

  /**
   * The tokens of a queue. Nothing is read or written yet.
   *
   * @param database Open and migrated. The caller closes it.
   * @param queue Its name.
   * @param defaults Hold as long as nothing was set; the same for all that share them.
   */
  constructor(database: Database, queue: string, defaults: { readonly rate: number; readonly capacity: number }) {
    this.#database = database;
    this.#queue = queue;
    this.#defaults = defaults;
  }

  /** Books tokens for whoever asks. They are taken: if nobody uses them they are lost. @param request How many. @param call The usual. */
  async book({ wanted, least, horizonMs }: BookingRequest, call: LedgerCall = {}): Promise<Booking> {
    const { rate, capacity } = this.#defaults;
    const [row] = await this.#run("book tokens", call, (sql) =>
      sql<{
        rate: number;
        capacity: number;
        version: number;
        booked: number;
        first_due: number | null;
        next_due: number | null;
      }[]>`
        select rate, capacity, version, booked, first_due, next_due
        from pixl_pipeline.book_tokens(
          ${this.#queue}, ${rate}, ${capacity}, ${wanted}, ${least}, ${horizonMs}::double precision * interval '1 millisecond'
        )`);
    if (row === undefined) throw new Error("a function gives one row");
    return {
      rate: row.rate,
      capacity: row.capacity,
      version: row.version,
      count: row.booked,
      firstDueMs: (row.first_due ?? 0) * 1_000,
      nextDueMs: (row.next_due ?? Infinity) * 1_000,
    };
  }

  /**
   * Changes the rate or the capacity, for all that share it. What was earned until now is counted at the old rate.
   *
   * @param change What.
   * @param call `unlessSetSince` (milliseconds since 1970, or `-Infinity`) leaves a rate alone that was set since then, by hand or by another process.
   * @returns Whether it was changed.
   * @throws {RangeError} If a number is none of these.
   */
  async set(
    { rate, capacity }: RateChange,
    call: LedgerCall & { readonly unlessSetSince?: number } = {},
  ): Promise<boolean> {
    if (rate !== undefined) checkRate(rate);
    if (capacity !== undefined && checkCapacity(capacity) > MOST_CAPACITY) {
      throw new RangeError(
        `Cannot set the capacity as 'capacity' must be at most ${MOST_CAPACITY}: current value is ${capacity}`,
      );
    }
    const [row] = await this.#run("set the rate", call, (sql) =>
      sql<{ set: boolean }[]>`
        select pixl_pipeline.set_rate_limit(
          ${this.#queue}, ${rate ?? null}, ${capacity ?? null},
          ${timestamp(call.unlessSetSince)}::text::timestamptz
        ) as set`);
    return row?.set ?? false;
  }

  /** Sets the schedule that consumers follow, or with `null` ends that. @param schedule As its parser reads it. @param call The usual. */
  async setSchedule(schedule: string | null, call: LedgerCall = {}): Promise<void> {
    await this.#run("set the schedule", call, (sql) =>
      sql`
        insert into pixl_pipeline.rate_limit (queue, schedule) values (${this.#queue}, ${schedule})
        on conflict (queue) do update set schedule = excluded.schedule`);
  }

  /** What was set. @param call The usual. */
  async settings(call: LedgerCall = {}): Promise<RateSettings> {
    const [row] = await this.#run(
      "read the rate",
      call,
      (sql) =>
        sql<{ rate: number | null; set_at: number | null; capacity: number | null; schedule: string | null }[]>`
        select rate, extract(epoch from rate_set_at)::float8 * 1000 as set_at, capacity, schedule from pixl_pipeline.rate_limit where queue = ${this.#queue}`,
    );
    const { rate = null, set_at = null, capacity = null, schedule = null } = row ?? {};
    return {
      ...(rate === null ? {} : { rate }),
      ...(set_at === null ? {} : { rateSetAt: set_at }),
      ...(capacity === null ? {} : { capacity }),
      ...(schedule === null ? {} : { schedule }),
    };
  }

  #run<T>(
    action: string,
    { transaction = this.#database.sql, signal }: LedgerCall,
    work: (sql: NonNullable<LedgerCall["transaction"]>) => PromiseLike<T>,
  ): Promise<T> {
    return run(action, () => work(transaction), signal);
  }
}

function timestamp(at: number | undefined): string | null {
  if (at === undefined) return null;
  return at === -Infinity ? "-infinity" : new Date(at).toISOString();
}
