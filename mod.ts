/**
 * PIXL core: takes medical images and records out of a hospital for research. Rate limiter, patient queues, database, parquet exports and FTPS uploads,
 * each an export of its own; run as a program this module is the command line `pixl`.
 *
 * @example Run the main job on embedded defaults
 * ```sh
 * deno run -P=demo mod.ts demo
 * ```
 *
 * @module
 */
export * from "./src/database/mod.ts";
export * from "./src/exports/mod.ts";
export * from "./src/queue/mod.ts";
export * from "./src/rate_limiter/mod.ts";
export * from "./src/pipeline/uploader.ts";
export type { Unsendable } from "./src/pipeline/file_to_send.ts";
export type { UploadResult } from "./src/pipeline/upload_result.ts";
export * from "./src/upload/mod.ts";
// Both the ledger and the extract have one; the ledger's may also hold a Study Instance UID.
export type { Study } from "./src/database/mod.ts";

if (import.meta.main) {
  // Services that import the components do not load the command line.
  const { main } = await import("./src/cli/main.ts");
  Deno.exit(await main(Deno.args));
}
