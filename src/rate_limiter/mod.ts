/**
 * A token bucket that waits: about five images a second for the hospital's archive, changed while running.
 *
 * @module
 */
export { type ErrorKind, PixlError } from "../errors.ts";
export * from "./errors.ts";
export * from "./token_bucket.ts";
