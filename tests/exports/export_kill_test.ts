import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async";
import { join } from "node:path";
import { writeSyntheticExtract } from "../../src/demo/synthetic_extract.ts";
import { ExportError, OmopExtract, ParquetExport, readManifest } from "../../src/exports/mod.ts";
import { temporaryFolder } from "./temporary_folder.ts";

const EXPORTS = JSON.stringify(import.meta.resolve("../../src/exports/mod.ts"));

/** Exports for ever, each time with another number of reports, and says so when an export begins. */
const script = (extract: string, exports: string) =>
  `import { OmopExtract, ParquetExport } from ${EXPORTS};
  const extract = await OmopExtract.open(${JSON.stringify(extract)});
  for (let reports = 1 + Date.now() % 1000;; reports++) {
    console.log("begin");
    await using parquetExport = new ParquetExport(extract.projectName, extract.extractTime, ${JSON.stringify(exports)});
    await parquetExport.copyOmop(extract);
    const row = { image_identifier: null, image_report: "No finding" };
    const rows = Array.from({ length: reports }, (_, id) => ({ ...row, procedure_occurrence_id: id }));
    await parquetExport.writeRadiology(rows);
    await parquetExport.finish({ replace: true });
  }`;

/** Runs it and kills it so many milliseconds after its second export began: the first one is there then. */
async function killAfter(file: string, ms: number): Promise<void> {
  const config = join(import.meta.dirname ?? ".", "../../deno.json");
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", "--no-check", "-c", config, file],
    stdout: "piped",
    stdin: "null",
  }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; text.split("begin").length < 3;) {
    const { value, done } = await lines.read();
    assert(!done, "The export ended by itself");
    text += value;
  }
  await delay(ms);
  child.kill("SIGKILL");
  await lines.cancel();
  await child.status;
}

Deno.test("ParquetExport leaves latest at a whole extract whenever it is killed", async () => {
  await using folder = await temporaryFolder();
  const [source, exports] = [join(folder.path, "extract"), join(folder.path, "exports")];
  await writeSyntheticExtract(source, { studies: 20, project: "Kill", extractTime: "2023-12-07 14:08:58" });
  await Deno.writeFile(join(source, "public", "notes.bin"), new Uint8Array(2 << 20).fill(7));
  await Deno.mkdir(exports);
  const file = join(folder.path, "export.ts");
  await Deno.writeTextFile(file, script(source, exports));
  const latest = join(exports, "kill", "latest");

  // A reader goes on all the time: it must find a manifest and all its files, of one export or the next.
  let [over, reads] = [false, 0];
  const reader = (async () => {
    let seen = false;
    while (!over) {
      try {
        const { files } = await readManifest(latest);
        for (const { path } of files) await Deno.stat(join(latest, path));
        [seen, reads] = [true, reads + 1];
      } catch (error) {
        assert(!seen && error instanceof ExportError && error.code === "not-exported", String(error));
      }
      await delay(1);
    }
  })();
  try {
    // Steps of 7 ms over some 150 ms: an export takes about 80 ms.
    for (let step = 0; step < 20; step++) {
      await killAfter(file, step * 7);
      assertEquals((await ParquetExport.verify(latest)).problems, [], `after the kill at ${step * 7} ms`);
    }
  } finally {
    over = true;
    await reader;
  }
  assert(reads > 20, `read ${reads} times`);

  const extract = await OmopExtract.open(source);
  await using parquetExport = new ParquetExport(extract.projectName, extract.extractTime, exports);
  await parquetExport.copyOmop(extract);
  await parquetExport.finish();
  const left = (await Array.fromAsync(Deno.readDir(join(exports, "kill", "all_extracts")))).map(({ name }) => name);
  assertEquals(left.sort(), [".replacing", "2023-12-07t14-08-58"]);
  assertEquals(await Deno.readLink(latest), "all_extracts/2023-12-07t14-08-58");
});
