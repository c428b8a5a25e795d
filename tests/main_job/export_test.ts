import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { ParquetExport } from "../../src/exports/mod.ts";
import { pixl, pixlJson } from "../support/pixl.ts";
import { openSite } from "../support/site.ts";

interface Exported {
  readonly project: string;
  readonly extract: string;
  readonly parquetFiles: number;
  readonly reportRows: number;
  readonly unchanged: boolean;
  readonly folder: string;
}

interface Verified {
  readonly files: number;
  readonly problems: readonly { path: string; problem: string }[];
}

Deno.test("pixl export goes part by part, pixl verify finds what is damaged", async () => {
  await using site = await openSite({ studies: 3, embedded: true });
  await pixlJson(["populate", site.extractDir], site);

  const dry = await pixl(["export", site.extractDir, "--only", "omop", "--dry-run", "--json"], site);
  assertEquals(dry.code, 0, dry.stderr);
  assertStringIncludes(dry.stderr, "omop/public/PERSON.parquet");
  assertEquals(await Array.fromAsync(Deno.readDir(site.exportDir)), []);

  const tables = await pixlJson<Exported>(["export", site.extractDir, "--only", "omop"], site);
  assertEquals([tables.parquetFiles, tables.reportRows, tables.unchanged], [3, 0, false]);
  const reports = await pixl(["export", site.extractDir, "--only", "radiology"], site);
  assertEquals(reports.code, 6, reports.stderr);
  assertStringIncludes(reports.stderr, "3 reports of this extract are missing");
  assertEquals((await pixl(["export", site.extractDir, "--only", "everything"], site)).code, 2);

  const whole = await pixlJson<Verified>(["verify", tables.project], site);
  assertEquals(whole, { project: tables.project, extract: tables.extract, files: 4, problems: [] } as Verified);
  assertEquals((await pixlJson<Verified>(["verify", tables.project, tables.extract], site)).files, 4);

  await Deno.writeTextFile(join(tables.folder, "omop", "public", "PERSON.parquet"), "PAR1");
  const damaged = await pixl(["verify", tables.project], site);
  assertEquals(damaged.code, 6);
  assertStringIncludes(damaged.stderr, "changed: omop/public/PERSON.parquet");
  const missing = await pixl(["verify", "another-project"], site);
  assertEquals(missing.code, 3);
  assert(missing.stderr.includes("pixl export"), missing.stderr);
});

Deno.test("pixl verify finds an extract by its time in any form, and by its folder", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  for (const time of ["2023-12-07T14:08:58", "2023-12-13T16:22:40Z"]) {
    await using parquetExport = new ParquetExport("Any Project", time, site.exportDir);
    await parquetExport.writeRadiology([]);
    await parquetExport.finish();
  }
  for (
    const [extract, folder] of [
      ["2023-12-07 14:08:58", "2023-12-07t14-08-58"],
      ["2023-12-13T16:22:40Z", "2023-12-13t16-22-40-00-00"],
      ["2023-12-13 16:22:40+00:00", "2023-12-13t16-22-40-00-00"],
      ["2023-12-13t16-22-40-00-00", "2023-12-13t16-22-40-00-00"],
    ] as const
  ) {
    assertEquals((await pixlJson<{ extract: string }>(["verify", "Any Project", extract], site)).extract, folder);
  }
});
