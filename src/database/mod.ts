/**
 * The database: a PostgreSQL server or an embedded one, its migrations, and the ledger of every study and every file that left.
 *
 * @module
 */
export { type ErrorKind, PixlError } from "../errors.ts";
export type { Database } from "./database.ts";
export { openDatabase } from "./open_database.ts";
export * from "./errors.ts";
export type { Queryable, Sql } from "./sql.ts";
export type { PostgresOptions } from "./server.ts";
export type { EmbeddedOptions } from "./embedded/embedded.ts";
export type { EmbeddedAssets } from "./embedded/assets.ts";
export { migrate, type MigrationResult, pendingMigrations } from "./migrate.ts";
export type { Migration } from "./migrations/list.ts";
export { Ledger } from "./ledger.ts";
export { type RateSettings, SharedRate } from "./shared_rate.ts";
export type { Booking, BookingRequest, RateChange, TokenStore } from "../rate_limiter/token_store.ts";
export type { NewExtract } from "./ledger/extracts.ts";
export type * from "./ledger/types.ts";
