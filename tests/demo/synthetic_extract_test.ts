import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { writeSyntheticExtract } from "../../src/demo/synthetic_extract.ts";
import { OmopExtract, type Study } from "../../src/exports/mod.ts";
import { checkMessage } from "../../src/queue/mod.ts";

async function written(
  options?: Parameters<typeof writeSyntheticExtract>[1],
): Promise<{ studies: Study[]; files: Map<string, string> }> {
  const dir = await Deno.makeTempDir({ prefix: "pixl-demo-" });
  try {
    await writeSyntheticExtract(dir, options);
    const files = new Map<string, string>();
    for (const folder of ["", "private", "public"]) {
      for await (const { name, isFile } of Deno.readDir(join(dir, folder))) {
        if (isFile) files.set(join(folder, name), new Uint8Array(await Deno.readFile(join(dir, folder, name))).toHex());
      }
    }
    return { studies: await Array.fromAsync((await OmopExtract.open(dir)).studies()), files };
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("writeSyntheticExtract() has several patients, marked, and tables besides the procedures", async () => {
  const { studies, files } = await written();
  assertEquals(studies.length, 40);
  assert(new Set(studies.map(({ mrn }) => mrn)).size >= 3);
  assert(studies.every(({ mrn, accession_number }) => mrn.includes("MRNSEED") && accession_number.includes("ACCSEED")));
  assertEquals([...files.keys()].sort(), [
    "extract_summary.json",
    "private/PERSON_LINKS.parquet",
    "private/PROCEDURE_OCCURRENCE_LINKS.parquet",
    "public/PERSON.parquet",
    "public/PROCEDURE_OCCURRENCE.parquet",
    "public/VISIT_OCCURRENCE.parquet",
  ]);
});

Deno.test("writeSyntheticExtract() has odd values that are legal", async () => {
  for (const options of [{}, { studies: 2 }]) {
    const { studies } = await written(options);
    assert(
      studies.some(({ accession_number }) =>
        /["'].* .*[^\u0020-\u007e]|[^\u0020-\u007e].*["'] /.test(accession_number)
      ),
    );
    assert(studies.some(({ mrn }) => mrn.startsWith("000")));
    for (const study of studies) assertEquals(checkMessage(study), study);
  }
});

Deno.test("writeSyntheticExtract() keeps MRNs and accession numbers out of what is public", async () => {
  const { files } = await written();
  const seeds = ["MRNSEED", "ACCSEED"].map((word) => new TextEncoder().encode(word).toHex());
  for (const [path, hex] of files) {
    assertEquals(seeds.some((seed) => hex.includes(seed)), path.startsWith("private"), path);
  }
});

Deno.test("writeSyntheticExtract() writes the same for the same seed only", async () => {
  assertEquals(await written({ seed: 7 }), await written({ seed: 7 }));
  assertNotEquals((await written({ seed: 7 })).studies, (await written({ seed: 8 })).studies);
});

Deno.test("writeSyntheticExtract() takes project and time", async () => {
  const { studies } = await written({ studies: 2, project: "Ångström 2", extractTime: "2024-01-02 03:04:05" });
  assertEquals(studies[0]?.project_name, "angstrom-2");
  assertEquals(studies[0]?.extract_generated_timestamp, "2024-01-02T03:04:05");
});

Deno.test("writeSyntheticExtract() refuses fewer than two studies", async () => {
  for (const studies of [1, 0, 2.5, NaN]) {
    await assertRejects(() => writeSyntheticExtract("never", { studies }), RangeError, "'studies' must be");
  }
});
