import { fileURLToPath } from "node:url";
import type { Access } from "./access.ts";

let provided: URL | undefined;

/** Says which module upload workers run, where it is not a file of its own: in a bundle, which is its own worker. */
export function provideWorkerModule(module: URL): void {
  provided = module;
}

/** The module that was provided. */
export function workerModule(): URL | undefined {
  return provided;
}

/** What starting a worker reads: the program itself, since Deno lets a worker load only what its program may read. */
export function workerAccess(): Access {
  const program = provided ?? new URL("../../", import.meta.url);
  return program.protocol === "file:" ? { read: [fileURLToPath(program)] } : {};
}
