import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async";
import { parquetReadObjects } from "hyparquet";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { writeSyntheticExtract } from "../../src/demo/synthetic_extract.ts";
import { ExportError, OmopExtract, ParquetExport, readManifest } from "../../src/exports/mod.ts";
import { temporaryFolder } from "./temporary_folder.ts";

const EXPORTS = JSON.stringify(import.meta.resolve("../../src/exports/mod.ts"));

/** What an export is doing, in this order. */
const STAGES = ["copy", "write", "finish"] as const;
type Stage = (typeof STAGES)[number];

/** Kills that each stage must have had. */
const HITS = 3;

/** A file that takes a while to be copied, and is hashed in another thread. */
const NOTES = new Uint8Array(12 << 20).fill(7);

/** Exports for ever, each time with another number of reports, each of which says that number; tells each stage as it begins. */
const script = (extract: string, exports: string) =>
  `import { OmopExtract, ParquetExport } from ${EXPORTS};
  const extract = await OmopExtract.open(${JSON.stringify(extract)});
  for (let reports = 1 + Date.now() % 5000;; reports++) {
    await using parquetExport = new ParquetExport(extract.projectName, extract.extractTime, ${JSON.stringify(exports)});
    console.log("copy");
    await parquetExport.copyOmop(extract);
    console.log("write");
    const row = { image_identifier: null, image_report: String(reports) };
    const rows = Array.from({ length: reports }, (_, id) => ({ ...row, procedure_occurrence_id: id }));
    await parquetExport.writeRadiology(rows);
    console.log("finish");
    await parquetExport.finish({ replace: true });
    console.log("done");
  }`;

/**
 * Runs it and kills it so many milliseconds after a stage began, of its first or of a later export.
 *
 * @returns The stage that it was killed in.
 */
async function kill(file: string, stage: Stage, ms: number, which: "first" | "later"): Promise<string> {
  const config = join(import.meta.dirname ?? ".", "../../deno.json");
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", "--no-check", "-c", config, file],
    stdout: "piped",
    stdin: "null",
  }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const wanted = which === "first" ? 1 : 2;
  let text = "";
  while (text.split(stage).length <= wanted) {
    const { value, done } = await lines.read();
    assert(!done, "The export ended by itself");
    text += value;
  }
  await delay(ms);
  child.kill("SIGKILL");
  for (let part = await lines.read(); !part.done; part = await lines.read()) text += part.value;
  await child.status;
  return text.trim().split("\n").at(-1) ?? "";
}

/** Kills in every stage until each has had its share. */
async function killInEveryStage(
  which: "first" | "later",
  prepare: () => Promise<string>,
  check: (what: string) => Promise<void>,
): Promise<void> {
  for (const stage of STAGES) {
    let hits = 0;
    for (let round = 0; hits < HITS; round++) {
      assert(round < 30, `'${stage}' was hit ${hits} times only`);
      const ms = (round % 5) * 4;
      const hit = await kill(await prepare(), stage, ms, which);
      hits += Number(hit === stage);
      await check(`killed in '${hit}', ${ms} ms after '${stage}'`);
    }
  }
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** That an export, looked at file by file, is whole: every report there, the large file as it was, and so on. */
async function assertContent(latest: string): Promise<void> {
  const { files } = await readManifest(latest);
  assertEquals(files.length, 5);
  // Opened once: it may be another file the next time.
  const { buffer } = await Deno.readFile(join(latest, "radiology", "radiology.parquet"));
  const reports = await parquetReadObjects({ file: buffer });
  assert(reports.every(({ image_report }) => image_report === String(reports.length)));
  assertEquals((await Deno.stat(join(latest, "omop", "public", "notes.bin"))).size, NOTES.length);
}

async function scene(): Promise<{ source: string; folder: string } & AsyncDisposable> {
  const { path, ...folder } = await temporaryFolder();
  const source = join(path, "extract");
  await writeSyntheticExtract(source, { studies: 20, project: "Kill", extractTime: "2023-12-07 14:08:58" });
  await Deno.writeFile(join(source, "public", "notes.bin"), NOTES);
  return { source, folder: path, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

Deno.test("ParquetExport leaves latest at a whole extract whenever it is killed, and no reader sees a gap", async () => {
  await using here = await scene();
  const exports = join(here.folder, "exports");
  await Deno.mkdir(exports);
  const file = join(here.folder, "export.ts");
  await Deno.writeTextFile(file, script(here.source, exports));
  const latest = join(exports, "kill", "latest");

  // A reader goes on all the time: from when it first is there, each file must be there and be whole, of one export or the next.
  let [over, reads] = [false, 0];
  const reader = (async () => {
    while (!over) {
      try {
        await assertContent(latest);
        reads++;
      } catch (error) {
        if (reads > 0 || !(error instanceof ExportError) || error.code !== "not-exported") throw error;
      }
      await delay(0);
    }
  })();
  reader.catch(() => {}); // it is waited for below
  try {
    await killInEveryStage("later", () => Promise.resolve(file), async (what) => {
      const { manifest, problems } = await ParquetExport.verify(latest);
      assertEquals(problems, [], what);
      const notes = manifest.files.find(({ path }) => path.endsWith("notes.bin"));
      assertEquals(notes?.sha256, sha256(NOTES), what);
      await assertContent(latest);
    });
  } finally {
    over = true;
  }
  await reader;
  assert(reads > 100, `read ${reads} times`);

  const extract = await OmopExtract.open(here.source);
  await using parquetExport = new ParquetExport(extract.projectName, extract.extractTime, exports);
  await parquetExport.copyOmop(extract);
  await parquetExport.finish();
  const left = (await Array.fromAsync(Deno.readDir(join(exports, "kill", "all_extracts")))).map(({ name }) => name);
  assertEquals(left.sort(), [".replacing", "2023-12-07t14-08-58"]);
  assertEquals(await Deno.readLink(latest), "all_extracts/2023-12-07t14-08-58");
});

Deno.test("ParquetExport leaves no latest or a whole one when it is killed in a project's first export", async () => {
  await using here = await scene();
  let [exports, count] = ["", 0];
  const prepare = async () => {
    exports = join(here.folder, `exports-${count++}`);
    await Deno.mkdir(exports);
    const file = join(here.folder, "export.ts");
    await Deno.writeTextFile(file, script(here.source, exports));
    return file;
  };
  await killInEveryStage("first", prepare, async (what) => {
    const latest = join(exports, "kill", "latest");
    const there = await Deno.lstat(latest).then(() => true, () => false);
    if (there) {
      assertEquals((await ParquetExport.verify(latest)).problems, [], what);
      await assertContent(latest);
    }
    // Whatever was left, the next export is whole.
    const extract = await OmopExtract.open(here.source);
    await using parquetExport = new ParquetExport(extract.projectName, extract.extractTime, exports);
    await parquetExport.copyOmop(extract);
    await parquetExport.writeRadiology([{ image_identifier: null, image_report: "1", procedure_occurrence_id: 1 }]);
    await parquetExport.finish({ replace: true });
    assertEquals((await ParquetExport.verify(latest)).problems, [], what);
    await assertContent(latest);
    await Deno.remove(exports, { recursive: true });
  });
});
