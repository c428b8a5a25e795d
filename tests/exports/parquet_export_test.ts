import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { writeSyntheticExtract } from "../../src/demo/synthetic_extract.ts";
import {
  ExportError,
  InvalidSlugError,
  OmopExtract,
  ParquetExport,
  type RadiologyRow,
  TableError,
} from "../../src/exports/mod.ts";
import { compareTimeSlugs } from "../../src/exports/point_latest.ts";
import { readMetadata, readRows } from "./read_back.ts";
import { temporaryFolder } from "./temporary_folder.ts";

const REPORTS: RadiologyRow[] = [
  { image_identifier: "pseudonym-1", procedure_occurrence_id: 1, image_report: "Clear lungs" },
  { image_identifier: null, procedure_occurrence_id: 2n, image_report: null },
];

/** An extract and an empty root of exports. */
async function scene(extractTime = "2023-12-07 14:08:58"): Promise<
  { extract: OmopExtract; exports: string; export: (time?: string) => ParquetExport; project: string } & AsyncDisposable
> {
  const dir = await temporaryFolder();
  const [source, exports] = [join(dir.path, "extract"), join(dir.path, "exports")];
  await writeSyntheticExtract(source, { studies: 3, project: "Test Project", extractTime });
  await Deno.mkdir(exports);
  const extract = await OmopExtract.open(source);
  return {
    extract,
    exports,
    export: (time = extract.extractTime) => new ParquetExport("Test Project", time, exports),
    project: join(exports, "test-project"),
    [Symbol.asyncDispose]: dir[Symbol.asyncDispose],
  };
}

/** Every path below a folder, links with where they point. */
async function tree(dir: string, prefix = ""): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(dir));
  const nested = entries.sort((a, b) => a.name < b.name ? -1 : 1).map(async ({ name, isDirectory, isSymlink }) => {
    const path = `${prefix}${name}`;
    if (isSymlink) return [`${path} -> ${await Deno.readLink(join(dir, name))}`];
    return isDirectory ? await tree(join(dir, name), `${path}/`) : [path];
  });
  return (await Promise.all(nested)).flat();
}

const TIME = "2023-12-07t14-08-58";
const WHOLE = [
  ".lock",
  `all_extracts/${TIME}/manifest.json`,
  `all_extracts/${TIME}/omop/public/PERSON.parquet`,
  `all_extracts/${TIME}/omop/public/PROCEDURE_OCCURRENCE.parquet`,
  `all_extracts/${TIME}/omop/public/VISIT_OCCURRENCE.parquet`,
  `all_extracts/${TIME}/radiology/radiology.parquet`,
  `latest -> all_extracts/${TIME}`,
];

Deno.test("ParquetExport lays out the folder that the Python PIXL does", async () => {
  await using here = await scene();
  await using parquetExport = here.export();
  await parquetExport.copyOmop(here.extract);
  await parquetExport.writeRadiology(REPORTS);

  assertEquals(await parquetExport.finish(), { unchanged: false, latest: true });

  assertEquals(await tree(here.project), WHOLE);
  assertEquals(parquetExport.dir, join(here.project, "all_extracts", TIME));
  assertEquals(await readRows(join(parquetExport.latest, "radiology", "radiology.parquet")), [
    { image_identifier: "pseudonym-1", procedure_occurrence_id: 1n, image_report: "Clear lungs" },
    { image_identifier: null, procedure_occurrence_id: 2n, image_report: null },
  ]);
  const person = "PERSON.parquet";
  assertEquals(
    await Deno.readFile(join(parquetExport.dir, "omop", "public", person)),
    await Deno.readFile(join(here.extract.dir, "public", person)),
  );
});

Deno.test("ParquetExport.copyOmop() copies folders and other files as well, with their hashes and progress", async () => {
  await using here = await scene();
  await Deno.mkdir(join(here.extract.dir, "public", "omop", "person"), { recursive: true });
  const big = new Uint8Array(3 << 20).fill(7);
  await Deno.writeFile(join(here.extract.dir, "public", "omop", "person", "part-0.bin"), big);
  await Deno.writeTextFile(join(here.extract.dir, "public", "README.md"), "Read me");
  await using parquetExport = here.export();
  const progress: { path: string; bytes: number; totalBytes: number }[] = [];

  const files = await parquetExport.copyOmop(here.extract, { onProgress: (step) => progress.push(step) });

  const part = files.find(({ path }) => path === "omop/public/omop/person/part-0.bin");
  assertEquals([part?.bytes, part?.sha256], [big.length, createHash("sha256").update(big).digest("hex")]);
  assert(files.some(({ path }) => path === "omop/public/README.md"));
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  assertEquals([progress.at(-1)?.bytes, progress.at(-1)?.totalBytes], [total, total]);
  assert(progress.length >= files.length + 2);
});

Deno.test("ParquetExport shows nothing before finish()", async () => {
  await using here = await scene();
  await using parquetExport = here.export();
  await parquetExport.copyOmop(here.extract);
  await parquetExport.writeRadiology(REPORTS);
  assertEquals((await tree(here.project)).filter((path) => !/^\.lock$|^all_extracts\/\..*\.staging\//.test(path)), []);
  const error = await assertRejects(() => parquetExport.files(), ExportError);
  assertEquals(error.code, "not-exported");
});

Deno.test("ParquetExport leaves nothing when it is disposed of without finish()", async () => {
  await using here = await scene();
  {
    await using parquetExport = here.export();
    await parquetExport.copyOmop(here.extract);
    await parquetExport[Symbol.asyncDispose]();
  }
  assertEquals(await tree(here.project), [".lock"]);
});

Deno.test("ParquetExport removes what a crash has left", async () => {
  await using here = await scene();
  const left = join(here.project, "all_extracts", ".2020-01-01t00-00-00.staging", "omop");
  await Deno.mkdir(left, { recursive: true });
  await Deno.writeTextFile(join(left, "half.parquet"), "PAR1");
  await Deno.symlink("nowhere", join(here.project, ".latest.part"));
  await exportAll(here);
  assertEquals(await tree(here.project), WHOLE);
});

async function exportAll(here: Awaited<ReturnType<typeof scene>>, time?: string) {
  await using parquetExport = here.export(time);
  await parquetExport.copyOmop(here.extract);
  await parquetExport.writeRadiology(REPORTS);
  return await parquetExport.finish();
}

Deno.test("ParquetExport.finish() changes nothing when the same content is there", async () => {
  await using here = await scene();
  await exportAll(here);
  const before = await Deno.stat(join(here.project, "all_extracts", TIME, "radiology", "radiology.parquet"));
  assertEquals(await exportAll(here), { unchanged: true, latest: true });
  const after = await Deno.stat(join(here.project, "all_extracts", TIME, "radiology", "radiology.parquet"));
  assertEquals([after.ino, after.mtime], [before.ino, before.mtime]);
  assertEquals(await tree(here.project), WHOLE);
});

Deno.test("ParquetExport.finish() refuses other content, and replaces it when told to", async () => {
  await using here = await scene();
  await exportAll(here);
  await using parquetExport = here.export();
  await parquetExport.copyOmop(here.extract);
  await parquetExport.writeRadiology([]);

  const error = await assertRejects(() => parquetExport.finish(), ExportError, "use --replace");

  assertEquals([error.code, error.kind, error.message.includes("radiology"), error.message.includes("omop")], [
    "exists-different",
    "input",
    true,
    false,
  ]);
  const path = join(parquetExport.dir, "radiology", "radiology.parquet");
  assertEquals((await readRows(path)).length, 2);
  assertEquals(await parquetExport.finish({ replace: true }), { unchanged: false, latest: true });
  assertEquals((await readRows(path)).length, 0);
  assertEquals(await tree(here.project), WHOLE);
});

Deno.test("ParquetExport.finish() notices a missing, an added and a changed file", async () => {
  await using here = await scene();
  await exportAll(here);
  const file = join(here.project, "all_extracts", TIME, "omop", "public", "PERSON.parquet");
  const content = await Deno.readFile(file);
  const refused = async () =>
    assertEquals((await assertRejects(() => exportAll(here), ExportError)).code, "exists-different");

  await Deno.remove(file);
  await refused();
  await Deno.writeFile(file, content.with(10, 0));
  await refused();
  await Deno.writeFile(file, content);
  await Deno.writeFile(`${file}.old`, content);
  await refused();
  await Deno.remove(`${file}.old`);
  assertEquals(await exportAll(here), { unchanged: true, latest: true });
});

Deno.test("ParquetExport.finish() adds reports to tables that were exported before", async () => {
  await using here = await scene();
  {
    await using first = here.export();
    await first.copyOmop(here.extract);
    assertEquals(await first.finish(), { unchanged: false, latest: true });
  }
  await using second = here.export();
  await second.writeRadiology(REPORTS);
  assertEquals(await second.finish(), { unchanged: false, latest: true });
  assertEquals(await tree(here.project), WHOLE);
});

Deno.test("ParquetExport.finish() points latest at the newest extract, never back", async () => {
  await using here = await scene();
  const latest = () => Deno.readLink(join(here.project, "latest"));
  assertEquals((await exportAll(here, "2023-12-07T14:08:58")).latest, true);
  assertEquals((await exportAll(here, "2023-12-07T14:08:57.999999")).latest, false);
  assertEquals(await latest(), "all_extracts/2023-12-07t14-08-58");
  assertEquals((await exportAll(here, "2023-12-07T14:08:58.000001")).latest, true);
  assertEquals(await latest(), "all_extracts/2023-12-07t14-08-58-000001");
  await Deno.remove(join(here.project, "all_extracts", "2023-12-07t14-08-58-000001"), { recursive: true });
  assertEquals((await exportAll(here)).latest, true);
  assertEquals(await latest(), "all_extracts/2023-12-07t14-08-58");
});

Deno.test("ParquetExport.finish() understands the absolute link of the Python PIXL", async () => {
  await using here = await scene();
  await Deno.mkdir(join(here.project, "all_extracts", "2024-01-01t00-00-00"), { recursive: true });
  await Deno.symlink("/container/exports/test-project/all_extracts/2024-01-01t00-00-00", join(here.project, "latest"));
  assertEquals((await exportAll(here)).latest, false);
  assertEquals((await exportAll(here, "2024-01-02T00:00:00")).latest, true);
  assertEquals(await Deno.readLink(join(here.project, "latest")), "all_extracts/2024-01-02t00-00-00");
});

Deno.test("ParquetExport.finish() can be called again after a replacement failed half way", async () => {
  await using here = await scene();
  await exportAll(here);
  await using parquetExport = here.export();
  await parquetExport.writeRadiology([]);
  const obstacle = join(here.project, ".latest.part");
  await Deno.mkdir(join(obstacle, "x"), { recursive: true });
  await assertRejects(() => parquetExport.finish({ replace: true }), ExportError);
  await assertRejects(() => parquetExport.finish({ replace: true }), ExportError);
  await Deno.remove(obstacle, { recursive: true });
  assertEquals(await parquetExport.finish(), { unchanged: false, latest: true });
  assertEquals(await tree(here.project), WHOLE);
  assertEquals((await readRows(join(parquetExport.dir, "radiology", "radiology.parquet"))).length, 0);
  assertEquals((await ParquetExport.verify(parquetExport.dir)).problems, []);
});

Deno.test("ParquetExport.finish() knows the later of two extracts in the hour that comes twice", async () => {
  await using here = await scene();
  const [summer, winter] = ["2023-10-29T01:30:00+01:00", "2023-10-29T01:10:00Z"];
  assertEquals((await exportAll(here, summer)).latest, true);
  assertEquals((await exportAll(here, winter)).latest, true);
  assertEquals((await exportAll(here, summer)).latest, false);
  assertEquals(await Deno.readLink(join(here.project, "latest")), "all_extracts/2023-10-29t01-10-00-00-00");
});

Deno.test("ParquetExport.finish() goes by the name of an extract whose manifest is damaged", async () => {
  await using here = await scene();
  await exportAll(here);
  await Deno.writeTextFile(join(here.project, "latest", "manifest.json"), "{}");
  assertEquals((await exportAll(here, "2023-12-07T14:08:57")).latest, false);
  assertEquals((await exportAll(here, "2023-12-07T14:08:59")).latest, true);
});

Deno.test("ParquetExport.finish() does not touch a latest that is no link", async () => {
  await using here = await scene();
  await Deno.mkdir(join(here.project, "latest"), { recursive: true });
  assertEquals((await assertRejects(() => exportAll(here), ExportError)).code, "latest-not-a-link");
});

Deno.test("ParquetExport.finish() needs something to finish", async () => {
  await using here = await scene();
  await using parquetExport = here.export();
  assertEquals((await assertRejects(() => parquetExport.finish(), ExportError)).code, "not-exported");
});

Deno.test("compareTimeSlugs() compares to the microsecond, whatever the offset", () => {
  const order = [
    "2023-12-07t14-08-57-00-00",
    "2023-12-07t14-08-58",
    "2023-12-07t14-08-58-000001",
    "2023-12-07t14-08-59-01-00",
  ];
  for (const [i, a] of order.entries()) {
    for (const [j, b] of order.entries()) {
      assertEquals(Math.sign(compareTimeSlugs(a, b)), Math.sign(i - j), `${a} ${b}`);
    }
  }
  assertEquals(compareTimeSlugs("2023-12-07t14-08-58-00-00", "2023-12-07t14-08-58"), 0);
});

Deno.test("ParquetExport.copyOmop() refuses links, which may lead out of the extract", async () => {
  await using here = await scene();
  await Deno.symlink("../../private/PERSON_LINKS.parquet", join(here.extract.dir, "public", "LINK.parquet"));
  const error = await assertRejects(() => exportAll(here), ExportError, "LINK.parquet");
  assertEquals(error.code, "special-file");
  assertEquals(await tree(here.project), [".lock"]);
});

Deno.test("ParquetExport.copyOmop() stops when aborted", async () => {
  await using here = await scene();
  await using parquetExport = here.export();
  const controller = new AbortController();
  const { signal } = controller;
  const onProgress = () => controller.abort(new Error("Stop"));
  await assertRejects(() => parquetExport.copyOmop(here.extract, { signal, onProgress }), Error, "Stop");
  assertEquals((await assertRejects(() => parquetExport.finish(), ExportError)).code, "not-exported");
});

Deno.test("ParquetExport.writeRadiology() passes on what the rows throw and leaves the part out", async () => {
  await using here = await scene();
  await using parquetExport = here.export();
  await parquetExport.copyOmop(here.extract);
  const failing = (function* (): Generator<RadiologyRow> {
    yield { image_identifier: null, procedure_occurrence_id: 1, image_report: null };
    throw new TypeError("Connection lost");
  })();
  await assertRejects(() => parquetExport.writeRadiology(failing), TypeError, "Connection lost");
  const wrong = [{ image_identifier: null, procedure_occurrence_id: 1.5, image_report: null }];
  await assertRejects(() => parquetExport.writeRadiology(wrong), TableError, "'procedure_occurrence_id'");
  await parquetExport.finish();
  assertEquals(await tree(here.project), WHOLE.filter((path) => !path.includes("radiology")));
});

Deno.test("ParquetExport.writeRadiology() keeps its schema without rows", async () => {
  await using here = await scene();
  await using parquetExport = here.export();
  await parquetExport.writeRadiology([]);
  await parquetExport.finish();
  const { schema } = await readMetadata(join(parquetExport.dir, "radiology", "radiology.parquet"));
  assertEquals(
    schema.slice(1).map(({ name, type, repetition_type }) => `${name} ${type} ${repetition_type}`),
    [
      "image_identifier BYTE_ARRAY OPTIONAL",
      "procedure_occurrence_id INT64 REQUIRED",
      "image_report BYTE_ARRAY OPTIONAL",
    ],
  );
});

Deno.test("ParquetExport lets one export of a project run at a time", async () => {
  await using here = await scene();
  await using first = here.export();
  await first.writeRadiology(REPORTS);
  await using second = here.export();
  const error = await assertRejects(
    () => second.writeRadiology([]),
    ExportError,
    "another export of the project is running",
  );
  assertEquals([error.code, error.kind], ["export-busy", "unavailable"]);
  await first.finish();
  await second.writeRadiology(REPORTS);
  assertEquals(await second.finish(), { unchanged: true, latest: true });
});

Deno.test("ParquetExport refuses a root that is missing or no folder, and makes nothing", async () => {
  await using here = await scene();
  const file = join(here.exports, "file");
  await Deno.writeTextFile(file, "");
  for (const root of [join(here.exports, "missing"), file]) {
    await using parquetExport = new ParquetExport("Test Project", here.extract.extractTime, root);
    const error = await assertRejects(() => parquetExport.copyOmop(here.extract), ExportError, root);
    assertEquals([error.code, error.kind], ["export-dir-refused", "refused"]);
  }
  assertEquals(await tree(here.exports), ["file"]);
});

/** Exports no reports in a process that may only touch the folder of exports, and what else is said. */
async function exportWith(exports: string, ...permissions: readonly string[]): Promise<string> {
  const script = join(exports, "script.ts");
  await Deno.writeTextFile(
    script,
    `import { ParquetExport } from ${JSON.stringify(import.meta.resolve("../../src/exports/mod.ts"))};
    await using parquetExport = new ParquetExport("Test Project", "2023-12-07T14:08:58", ${JSON.stringify(exports)});
    try {
      await parquetExport.writeRadiology([]);
      console.log(JSON.stringify(await parquetExport.finish()));
    } catch (error) {
      console.log(error.code);
    }`,
  );
  const config = join(import.meta.dirname ?? ".", "../../deno.json");
  const folders = [`--allow-read=${exports}`, `--allow-write=${exports}`, "--ignore-env", "--no-prompt"];
  const args = ["run", "-q", "--no-check", "-c", config, ...folders, ...permissions, script];
  const { stdout } = await new Deno.Command(Deno.execPath(), { args }).output();
  await Deno.remove(script);
  return new TextDecoder().decode(stdout).trim();
}

Deno.test("ParquetExport refuses to start where it could not make a link", async () => {
  await using here = await scene();
  assertEquals(await exportWith(here.exports), "link-refused");
  assertEquals(await tree(here.exports), []);
});

Deno.test({
  name: "ParquetExport needs its folder and the program ln only",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await using here = await scene();
    assertEquals(await exportWith(here.exports, "--allow-run=ln"), `{"unchanged":false,"latest":true}`);
    assertEquals(await Deno.readLink(join(here.project, "latest")), `all_extracts/${TIME}`);
  },
});

Deno.test("ParquetExport.files() lists what was exported with size, and hashes it if asked to", async () => {
  await using here = await scene();
  await exportAll(here);
  const parquetExport = here.export();
  for (const name of ["notes.txt", "by-hand.parquet"]) {
    await Deno.writeTextFile(join(parquetExport.dir, "omop", name), "put there by hand");
  }
  for (const { sha256 } of await parquetExport.files()) assertEquals(sha256, undefined);
  const files = await parquetExport.files({ hash: true });
  assertEquals(
    files.map(({ path }) => path),
    WHOLE.slice(2, 6).map((path) => path.replace(`all_extracts/${TIME}/`, "")),
  );
  for (const { path, bytes, sha256 } of files) {
    const content = await Deno.readFile(join(parquetExport.dir, path));
    assertEquals([bytes, sha256], [content.length, createHash("sha256").update(content).digest("hex")]);
  }
});

Deno.test("ParquetExport.files() lists all that the manifest names, since a receiver looks for it", async () => {
  await using here = await scene();
  await Deno.writeTextFile(join(here.extract.dir, "public", "_SUCCESS"), "");
  await exportAll(here);
  const { manifest } = await ParquetExport.verify(here.export().dir);
  const paths = (await here.export().files()).map(({ path }) => path);
  assertEquals(paths.includes("omop/public/_SUCCESS"), true);
  assertEquals(paths.toSorted(), manifest.files.map(({ path }) => path).toSorted());
});

Deno.test("ParquetExport refuses names of which no folder can be made", () => {
  assertThrows(() => new ParquetExport("..", "2023-12-07T14:08:58", "/exports"), InvalidSlugError);
  assertInstanceOf(assertThrows(() => new ParquetExport("a", "today", "/exports")), InvalidSlugError);
});

Deno.test({
  name: "ParquetExport makes folders and files that only their owner can read",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await using here = await scene();
    await exportAll(here);
    const dir = join(here.project, "all_extracts", TIME);
    const mode = async (path: string) => (((await Deno.stat(path)).mode ?? 0) & 0o777).toString(8);
    const paths = [here.project, dir, join(dir, "omop"), join(dir, "omop", "public"), join(dir, "radiology")];
    for (const path of paths) assertEquals(await mode(path), "700", path);
    for (const { path } of await here.export().files()) assertEquals(await mode(join(dir, path)), "600", path);
  },
});
