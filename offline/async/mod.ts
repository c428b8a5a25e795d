/**
 * A stand-in for `jsr:@std/async` where JSR is out of reach: our own code, with the names, signatures and semantics of the functions that this
 * project uses. Remove the folder and Deno takes the real package.
 *
 * @module
 */
export * from "./abortable.ts";
export * from "./deadline.ts";
export * from "./delay.ts";
