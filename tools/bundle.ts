/**
 * Writes `dist/pixl.js`: the whole of pixl in one file, with the embedded database in it, that runs with an empty cache and no node_modules.
 */
import { gzipSync } from "node:zlib";
import { say } from "./say.ts";

/** What PGlite loads at run time, by the names that its options have for them. */
const ASSETS = { data: "pglite.data", wasm: "pglite.wasm", initdb: "initdb.wasm" } as const;

const ENTRY = `// Written by tools/bundle.ts.
import process from "node:process";
import data from "./data.gz" with { type: "bytes" };
import initdb from "./initdb.gz" with { type: "bytes" };
import wasm from "./wasm.gz" with { type: "bytes" };
import { main } from "../src/cli/main.ts";
import { provideAssets } from "../src/cli/open.ts";
import { provideWorkerModule } from "../src/cli/worker_module.ts";
import { serveFtps } from "../src/upload/ftps_worker.ts";

// Thrift, inside the parquet writer, calls Buffer() as old code does; outside node_modules that prints a warning.
process.noDeprecation = true;

async function unpack(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).bytes();
}

provideAssets(async () => ({ data: await unpack(data), initdb: await unpack(initdb), wasm: await unpack(wasm) }));
// This file is the module of its upload workers too.
if ("WorkerGlobalScope" in globalThis) serveFtps(self);
else {
  provideWorkerModule(new URL(import.meta.url));
  Deno.exit(await main(Deno.args));
}
`;

/**
 * Writes the bundle.
 *
 * @returns Its path.
 */
export async function bundle(): Promise<string> {
  await Deno.mkdir("build", { recursive: true });
  await Deno.mkdir("dist", { recursive: true });
  const pglite = import.meta.resolve("@electric-sql/pglite");
  for (const [name, file] of Object.entries(ASSETS)) {
    const bytes = await Deno.readFile(new URL(file, pglite));
    // The same bytes on every machine: no time stamp, which zlib leaves out by itself.
    await Deno.writeFile(`build/${name}.gz`, gzipSync(bytes, { level: 9 }));
  }
  await Deno.writeTextFile("build/entry.ts", ENTRY);
  const out = "dist/pixl.js";
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["bundle", "--quiet", "--platform=deno", `--output=${out}`, "build/entry.ts"],
    stdin: "null",
  }).output();
  if (!success) throw new Error("deno bundle failed");
  return out;
}

if (import.meta.main) {
  const out = await bundle();
  say(`${out}: ${((await Deno.stat(out)).size / 1e6).toFixed(1)} MB`);
}
