/**
 * A token bucket that waits: about five images a second for the hospital's archive, changed while running, by hand or by the clock, and shared by all
 * processes that need it.
 *
 * @module
 */
export { type ErrorKind, PixlError } from "../errors.ts";
export * from "./errors.ts";
export * from "./rate_limiter.ts";
export * from "./follow_schedule.ts";
export * from "./rate_schedule.ts";
export * from "./shared_token_bucket.ts";
export * from "./token_bucket.ts";
export type * from "./token_store.ts";
