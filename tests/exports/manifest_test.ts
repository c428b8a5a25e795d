import { assert, assertEquals, assertRejects } from "@std/assert";
import { Buffer } from "node:buffer";
import { basename, dirname, join } from "node:path";
import { writeSyntheticExtract } from "../../src/demo/synthetic_extract.ts";
import {
  ExportError,
  ExtractError,
  OmopExtract,
  ParquetExport,
  readManifest,
  TableError,
} from "../../src/exports/mod.ts";
import { VERSION } from "../../src/version.ts";
import { readRows } from "./read_back.ts";
import { temporaryFolder } from "./temporary_folder.ts";

interface Scene extends AsyncDisposable {
  readonly extract: OmopExtract;
  readonly exports: string;
  readonly dir: string;
  export(): ParquetExport;
}

async function scene(): Promise<Scene> {
  const folder = await temporaryFolder();
  const [source, exports] = [join(folder.path, "extract"), join(folder.path, "exports")];
  await writeSyntheticExtract(source, { studies: 3, project: "Test Project", extractTime: "2023-12-07 14:08:58" });
  await Deno.mkdir(exports);
  const extract = await OmopExtract.open(source);
  const make = () => new ParquetExport("Test Project", extract.extractTime, exports);
  return { extract, exports, dir: make().dir, export: make, [Symbol.asyncDispose]: folder[Symbol.asyncDispose] };
}

async function exportAll(here: Scene, reports = 2, replace = false): Promise<void> {
  await using parquetExport = here.export();
  await parquetExport.copyOmop(here.extract);
  const row = { image_identifier: null, image_report: null };
  const rows = Array.from({ length: reports }, (_, id) => ({ ...row, procedure_occurrence_id: id }));
  await parquetExport.writeRadiology(rows);
  await parquetExport.finish({ replace });
}

Deno.test("ParquetExport.finish() writes a manifest of every file", async () => {
  await using here = await scene();
  await Deno.writeTextFile(join(here.extract.dir, "public", "README.md"), "Read me");
  await exportAll(here);
  const { version, project, extract, time, files } = await readManifest(here.dir);
  const head = ["test-project", "2023-12-07t14-08-58", "2023-12-07T14:08:58"];
  assertEquals([version, project, extract, time], [1, ...head]);
  const sizes = await Promise.all(files.map(async ({ path }) => (await Deno.stat(join(here.dir, path))).size));
  assertEquals(files.map(({ bytes }) => bytes), sizes);
  assertEquals(files.map(({ path, rows }) => `${path} ${rows}`), [
    "omop/public/PERSON.parquet 3",
    "omop/public/PROCEDURE_OCCURRENCE.parquet 4",
    "omop/public/README.md null",
    "omop/public/VISIT_OCCURRENCE.parquet 4",
    "radiology/radiology.parquet 2",
  ]);
  assertEquals(files.find(({ path }) => path.endsWith("README.md"))?.schema, null);
  assertEquals(files.at(-1)?.schema, [
    { name: "image_identifier", type: "UTF8", optional: true },
    { name: "procedure_occurrence_id", type: "INT64", optional: false },
    { name: "image_report", type: "UTF8", optional: true },
  ]);
});

Deno.test("ParquetExport.copyOmop() refuses a parquet file without a footer, by its name", async () => {
  await using here = await scene();
  await Deno.writeTextFile(join(here.extract.dir, "public", "DEATH.parquet"), "PAR1");
  const error = await assertRejects(() => exportAll(here), ExtractError, "DEATH.parquet");
  assertEquals(error.code, "unreadable-parquet");
});

Deno.test("ParquetExport.writeTable() writes other tables, and refuses names that are no file's", async () => {
  await using here = await scene();
  await using parquetExport = here.export();
  const schema = [{ name: "measurement", type: "double" }] as const;
  await parquetExport.writeTable("emap_observations", schema, [{ measurement: 36.6 }]);
  await parquetExport.writeTable("emap_visits", schema, []);
  for (const name of ["", "..", "a/b", "a.b", "a\0"]) {
    await assertRejects(() => parquetExport.writeTable(name, schema, []), TableError, "use letters");
  }
  await parquetExport.finish();
  const { files } = await readManifest(parquetExport.dir);
  assertEquals(files.map(({ path, rows }) => `${path} ${rows}`), [
    "ehr/emap_observations.parquet 1",
    "ehr/emap_visits.parquet 0",
  ]);
});

Deno.test("ParquetExport.writeTable() writes tables side by side", async () => {
  await using here = await scene();
  await using parquetExport = here.export();
  const write = (name: string) => parquetExport.writeTable(name, [{ name: "id", type: "int32" }], [{ id: 1 }]);
  await Promise.all(["a", "b", "c"].map(write));
  await parquetExport.finish();
  assertEquals((await readManifest(here.dir)).files.map(({ path }) => path), [
    "ehr/a.parquet",
    "ehr/b.parquet",
    "ehr/c.parquet",
  ]);
});

Deno.test("ParquetExport.finish() replaces one of the other tables and keeps the others", async () => {
  await using here = await scene();
  const write = async (names: Record<string, number>, replace = false) => {
    await using parquetExport = here.export();
    for (const [name, id] of Object.entries(names)) {
      await parquetExport.writeTable(name, [{ name: "id", type: "int32" }], [{ id }]);
    }
    return await parquetExport.finish({ replace });
  };
  await write({ a: 1, b: 1 });
  assertEquals((await write({ b: 1 })).unchanged, true);
  assertEquals((await write({ c: 1 })).unchanged, false);
  const error = await assertRejects(() => write({ b: 2 }), ExportError, "ehr/b.parquet");
  assertEquals(error.code, "exists-different");
  assertEquals((await write({ b: 2 }, true)).unchanged, false);
  const ids = async (name: string) => (await readRows(join(here.dir, "ehr", `${name}.parquet`))).map(({ id }) => id);
  assertEquals([await ids("a"), await ids("b"), await ids("c")], [[1], [2], [1]]);
  const { problems, manifest } = await ParquetExport.verify(here.dir);
  assertEquals([problems.length, manifest.files.length], [0, 3]);
});

/** Writes a file again as another version of this package would have. */
async function ageFile(path: string): Promise<void> {
  const text = Buffer.from(await Deno.readFile(path)).toString("latin1");
  const aged = text.replaceAll(`@pixl/core version ${VERSION}`, `@pixl/core version ${"9".repeat(VERSION.length)}`)
    .replaceAll(`@pixl/core ${VERSION}`, `@pixl/core ${"9".repeat(VERSION.length)}`);
  assert(aged !== text);
  await Deno.writeFile(path, Buffer.from(aged, "latin1"));
}

Deno.test("ParquetExport.finish() changes nothing when another version wrote the same tables", async () => {
  await using here = await scene();
  await exportAll(here);
  const path = join(here.dir, "radiology", "radiology.parquet");
  await ageFile(path);
  await Deno.remove(join(here.dir, "manifest.json"));
  await exportAll(here);
  const [aged, manifest] = [await Deno.readFile(path), await readManifest(here.dir)];
  await using parquetExport = here.export();
  const row = { image_identifier: null, image_report: null };
  await parquetExport.writeRadiology([0, 1].map((id) => ({ ...row, procedure_occurrence_id: id })));
  assertEquals((await parquetExport.finish()).unchanged, true);
  assertEquals([await Deno.readFile(path), await readManifest(here.dir)], [aged, manifest]);
  assertEquals((await ParquetExport.verify(here.dir)).problems, []);
  assertEquals((await assertRejects(() => exportAll(here, 1), ExportError)).code, "exists-different");
  await exportAll(here, 2, true);
  assert((await Deno.readFile(path)).some((byte, i) => byte !== aged[i]));
});

Deno.test("ParquetExport.finish() mends a damaged manifest when it may replace", async () => {
  await using here = await scene();
  await exportAll(here);
  const path = join(here.dir, "manifest.json");
  const before = await readManifest(here.dir);
  await Deno.writeTextFile(path, "damaged");
  const write = async (replace: boolean) => {
    await using parquetExport = here.export();
    await parquetExport.copyOmop(here.extract);
    await parquetExport.finish({ replace });
  };
  const error = await assertRejects(() => write(false), ExportError, "with --replace");
  assertEquals(error.code, "manifest-invalid");
  await write(true);
  assertEquals(await readManifest(here.dir), before);
});

Deno.test("ParquetExport refuses at once where latest is no link, and passes over stray files", async () => {
  await using here = await scene();
  const { latest } = here.export();
  await exportAll(here);
  await Deno.mkdir(join(here.dir, "..", ".replacing"));
  await Deno.writeTextFile(join(here.dir, "..", ".replacing", "stray"), "stray");
  await exportAll(here, 3, true);
  await Deno.remove(latest);
  await Deno.mkdir(latest);
  const error = await assertRejects(() => exportAll(here, 4, true), ExportError, latest);
  assertEquals(error.code, "latest-not-a-link");
  await Deno.remove(latest);
  await exportAll(here, 4, true);
  assertEquals((await readManifest(latest)).files.at(-1)?.rows, 4);
});

Deno.test("ParquetExport.finish() keeps in the manifest what was exported before, as it was", async () => {
  await using here = await scene();
  await exportAll(here);
  const before = await readManifest(here.dir);
  await using parquetExport = here.export();
  await parquetExport.writeTable("visits", [{ name: "id", type: "int32" }], [{ id: 1 }]);
  await parquetExport.finish();
  const after = await readManifest(here.dir);
  assertEquals(after.files.filter(({ path }) => !path.startsWith("ehr/")), before.files);
  assertEquals((await ParquetExport.verify(here.dir)).problems, []);
});

Deno.test("ParquetExport.finish() makes the manifest that an older export lacks", async () => {
  await using here = await scene();
  await exportAll(here);
  const manifest = await readManifest(here.dir);
  await Deno.remove(join(here.dir, "manifest.json"));
  await using parquetExport = here.export();
  await parquetExport.copyOmop(here.extract);
  assertEquals((await parquetExport.finish()).unchanged, false);
  assertEquals(await readManifest(here.dir), manifest);
});

Deno.test("ParquetExport.finish() keeps files that it did not make, and does not forget those that are missing", async () => {
  await using here = await scene();
  await exportAll(here);
  await Deno.mkdir(join(here.dir, "notes"));
  await Deno.writeTextFile(join(here.dir, "notes", "a.txt"), "Keep me");
  await Deno.remove(join(here.dir, "omop", "public", "PERSON.parquet"));
  await using parquetExport = here.export();
  await parquetExport.writeTable("visits", [{ name: "id", type: "int32" }], []);
  await parquetExport.finish();
  assertEquals(await Deno.readTextFile(join(here.dir, "notes", "a.txt")), "Keep me");
  const problem = { path: "omop/public/PERSON.parquet", problem: "missing" } as const;
  assertEquals((await ParquetExport.verify(here.dir)).problems, [problem]);
});

Deno.test({
  name: "ParquetExport.finish() takes over links, pipes and half parquet files that it did not make",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await using here = await scene();
    await exportAll(here, 1);
    await Deno.symlink("/nowhere", join(here.dir, "link.parquet"));
    await Deno.writeTextFile(join(here.dir, "half.parquet"), "PAR1");
    await new Deno.Command("mkfifo", { args: [join(here.dir, "pipe")] }).output();
    await exportAll(here, 2, true);
    await exportAll(here, 2);
    assertEquals(await Deno.readLink(join(here.dir, "link.parquet")), "/nowhere");
    assertEquals(await Deno.readTextFile(join(here.dir, "half.parquet")), "PAR1");
    assertEquals((await Deno.lstat(join(here.dir, "pipe"))).isFifo, true);
    // They are neither sent nor a reason to send nothing.
    assertEquals((await here.export().files()).some(({ path }) => path === "link.parquet"), false);
    assertEquals((await ParquetExport.verify(here.dir)).problems, [
      { path: "link.parquet", problem: "unexpected" },
      { path: "pipe", problem: "unexpected" },
    ]);
    const { files } = await readManifest(here.dir);
    assertEquals(files.map(({ path, rows }) => `${path} ${rows}`).filter((file) => !file.startsWith("omop")), [
      "half.parquet null",
      "radiology/radiology.parquet 2",
    ]);
  },
});

Deno.test("ParquetExport.finish() can be called again after it was stopped while it took files over", async () => {
  await using here = await scene();
  await exportAll(here);
  for (const name of ["a.txt", "b.txt"]) await Deno.writeTextFile(join(here.dir, name), name);
  await using parquetExport = here.export();
  await parquetExport.writeTable("visits", [{ name: "id", type: "int32" }], []);
  for (let stop = 1, stopped = true; stopped; stop++) {
    // Stops at the first, then at the second look, and so on.
    let looks = 0;
    const signal = new AbortController().signal;
    signal.throwIfAborted = () => {
      if (++looks === stop) throw new Error("Stop");
    };
    stopped = await parquetExport.finish({ signal }).then(() => false, (error) => {
      assertEquals(error.message, "Stop");
      return true;
    });
  }
  assertEquals((await ParquetExport.verify(here.dir)).problems, []);
  assertEquals(await Deno.readTextFile(join(here.dir, "b.txt")), "b.txt");
});

Deno.test("ParquetExport.verify() finds what is missing, changed and added, through latest too", async () => {
  await using here = await scene();
  await exportAll(here);
  const latest = here.export().latest;
  assertEquals((await ParquetExport.verify(latest)).problems, []);
  const file = (name: string) => join(here.dir, "omop", "public", name);
  await Deno.remove(file("PERSON.parquet"));
  const bytes = await Deno.readFile(file("VISIT_OCCURRENCE.parquet"));
  await Deno.writeFile(file("VISIT_OCCURRENCE.parquet"), bytes.with(20, (bytes[20] ?? 0) ^ 1));
  await Deno.writeTextFile(file("EXTRA.parquet"), "");
  assertEquals((await ParquetExport.verify(latest)).problems, [
    { path: "omop/public/PERSON.parquet", problem: "missing" },
    { path: "omop/public/VISIT_OCCURRENCE.parquet", problem: "changed" },
    { path: "omop/public/EXTRA.parquet", problem: "unexpected" },
  ]);
});

Deno.test("readManifest() refuses what is no manifest, and paths that lead out of it", async () => {
  await using here = await scene();
  const missing = await assertRejects(() => readManifest(here.dir), ExportError);
  assertEquals(missing.code, "not-exported");
  await exportAll(here);
  const path = join(here.dir, "manifest.json");
  const text = await Deno.readTextFile(path);
  const bad = ["../x", "/etc/passwd", "a/../../b", "..", "a\n/../x", "a\0b", "a/.", ""].map((to) =>
    text.replace("omop/public/PERSON.parquet", JSON.stringify(to).slice(1, -1))
  );
  for (const content of ["", "{}", text.slice(0, -5), text.replace("T14:08:58", "T24:08:58"), ...bad]) {
    await Deno.writeTextFile(path, content);
    assertEquals((await assertRejects(() => readManifest(here.dir), ExportError)).code, "manifest-invalid", content);
  }
});

Deno.test({
  name: "readManifest() knows files whose name holds a backslash or a line end",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await using here = await scene();
    await Deno.writeTextFile(join(here.extract.dir, "public", "a\\..\nb.txt"), "Read me");
    await exportAll(here);
    assertEquals((await ParquetExport.verify(here.dir)).problems, []);
  },
});

Deno.test("ParquetExport.finish() lets a reader of latest see the old extract or the new one while it replaces", async () => {
  await using here = await scene();
  await exportAll(here, 1);
  const { latest } = here.export();
  const rows = new Set<number | null>();
  let [done, reads] = [false, 0];
  const reader = (async () => {
    while (!done) {
      const { files } = await readManifest(latest);
      for (const { path } of files) await Deno.stat(join(latest, path));
      rows.add(files.at(-1)?.rows ?? null);
      reads++;
    }
  })();
  for (let round = 2; round < 8; round++) await exportAll(here, round, true);
  done = true;
  await reader;
  assertEquals([rows.size > 1, reads > 10], [true, true]);
  const left = (await Array.fromAsync(Deno.readDir(join(here.dir, "..")))).map(({ name }) => name).sort();
  assertEquals(left, [".replacing", "2023-12-07t14-08-58"]);
  assertEquals((await ParquetExport.verify(latest)).problems, []);
});

Deno.test("ParquetExport.files() and verify() find one whole export while it is replaced", async () => {
  await using here = await scene();
  await exportAll(here, 1);
  const { latest } = here.export();
  let [done, reads] = [false, 0];
  const readers = [
    () => here.export().files(),
    () => ParquetExport.verify(here.dir).then(({ problems }) => assertEquals(problems, [])),
    () => ParquetExport.verify(latest).then(({ problems }) => assertEquals(problems, [])),
  ].map(async (read) => {
    for (; !done; reads++) await read();
  });
  for (let round = 2; round < 12; round++) await exportAll(here, round, true);
  done = true;
  await Promise.all(readers);
  assertEquals(reads > 10, true);
});

for (const gap of [false, true]) {
  const state = gap ? "between its renames" : "before its renames";
  Deno.test(`ParquetExport.files() and verify() find the new export after a crash ${state}`, async () => {
    await using here = await scene();
    await exportAll(here, 1);
    const waiting = join(here.dir, "..", ".replacing", basename(here.dir));
    await Deno.rename(here.dir, join(here.exports, "new"));
    await exportAll(here, 2);
    if (gap) await Deno.remove(here.dir, { recursive: true });
    await Deno.mkdir(dirname(waiting));
    await Deno.rename(join(here.exports, "new"), waiting);
    const { latest } = here.export();
    await Deno.remove(latest);
    await Deno.symlink(`all_extracts/.replacing/${basename(here.dir)}`, latest);
    const real = await Deno.realPath(waiting);
    const { manifest } = await ParquetExport.verify(here.dir);
    assertEquals(manifest.files.at(-1)?.rows, 1);
    const files = await here.export().files();
    assertEquals(files.map(({ source }) => source), manifest.files.map(({ path }) => join(real, path)));
  });
}
