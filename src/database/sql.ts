import type postgres from "postgres";

/**
 * The handle of {@link https://github.com/porsager/postgres | postgres.js}: a tagged template that sends its values as parameters.
 *
 * Values come back as PostgreSQL writes them: dates and timestamps as text (never through a JavaScript `Date`, which would shift days and cut
 * microseconds), `bigint` as a number (a `RangeError` beyond 2^53, which no id or count here reaches), `numeric` as text.
 *
 * Within `begin` use only the handle that it gives, and wait for nothing else: the embedded database has one session, so everybody else waits for the
 * end of the transaction, and postgres.js ends the process if a transaction goes on after its connection was lost.
 * Arrays are best sent as text and cast (`unnest(${texts}::text[])`), and never use `copy … from stdin`: the embedded database hangs on it.
 */
export type Sql = postgres.Sql;

/** Either the handle of the pool or that of an open transaction. */
export type Queryable = postgres.ISql;
