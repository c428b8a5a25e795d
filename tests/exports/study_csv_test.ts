import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { join } from "node:path";
import { readCsv } from "../../src/exports/csv.ts";
import { ExtractError, type Study, StudyCsv } from "../../src/exports/mod.ts";
import { temporaryFolder } from "./temporary_folder.ts";

const HEAD = "project_name,mrn,accession_number,study_date,procedure_occurrence_id,extract_generated_timestamp";

async function write(dir: string, text: string | Uint8Array): Promise<string> {
  const path = join(dir, "studies.csv");
  await Deno.writeFile(path, typeof text === "string" ? new TextEncoder().encode(text) : text);
  return path;
}

async function studiesOf(path: string): Promise<Study[]> {
  const { extracts } = await StudyCsv.open(path);
  return (await Promise.all(extracts.map((extract) => Array.fromAsync(extract.studies())))).flat();
}

const NONE = { noAccessionNumber: 0, unknownPerson: 0, noStudyDate: 0, unusable: 0, duplicate: 0 };

Deno.test("StudyCsv gives the studies of each project, trims, and counts what it leaves out", async () => {
  await using dir = await temporaryFolder();
  const path = await write(
    dir.path,
    `\ufeffMRN,Accession_Number,study_date,procedure_occurrence_id,extract_generated_timestamp,PROJECT_NAME,notes\r
 MRNSEED1 ,ACCSEED1,2020-05-23,4,2023-12-07 14:08:58,Project One,"a, ""b""
c"\r
MRNSEED1,ACCSEED1,2020-05-23,4,2023-12-07T14:08:58,Project Two,\r
\r
MRNSEED1,ACCSEED1,2020-05-23,5,2023-12-07T14:08:58,project-one,again\r
MRNSEED1,,2020-05-23,6,2023-12-07T14:08:58,project-one,\r
,ACCSEED2,2020-05-23,7,2023-12-07T14:08:58,project-one,\r
MRNSEED1,ACCSEED3,,8,2023-12-07T14:08:58,project-one,\r
MRNSEED1,"ACC\tSEED",2020-05-23,9,2023-12-07T14:08:58,project-one,`,
  );
  const { extracts: [one, two, ...others] } = await StudyCsv.open(path);
  assertEquals(others.length, 0);
  assertEquals([one?.projectName, one?.projectSlug, one?.extractTime, one?.timeSlug], [
    ...["Project One", "project-one", "2023-12-07T14:08:58", "2023-12-07t14-08-58"],
  ]);
  const study = { mrn: "MRNSEED1", accession_number: "ACCSEED1", study_date: "2020-05-23", procedure_occurrence_id: 4 };
  const common = { ...study, extract_generated_timestamp: "2023-12-07T14:08:58" };
  for (let time = 0; time < 2; time++) {
    assertEquals(await Array.fromAsync(one?.studies() ?? []), [{ ...common, project_name: "project-one" }]);
    assertEquals(one?.dropped, { noAccessionNumber: 1, unknownPerson: 1, noStudyDate: 1, unusable: 1, duplicate: 1 });
    assertEquals(await Array.fromAsync(two?.studies() ?? []), [{ ...common, project_name: "project-two" }]);
    assertEquals(two?.dropped, NONE);
  }
});

const ROW = "p,MRNSEED1,ACCSEED1,2020-05-23,4,2023-12-07T14:08:58";

for (
  const [what, text, code, words] of [
    ["a missing column", "mrn,accession_number\nMRNSEED1,ACCSEED1", "column-missing", "'project_name'"],
    ["a column that is there twice", `${HEAD},mrn\n${ROW},MRNSEED1`, "column-missing", "'mrn'"],
    ["a line that is too short", `${HEAD}\n${ROW}\np,MRNSEED1`, "csv-invalid", "line 3 has 2 fields"],
    [
      "a quote that does not end",
      `${HEAD}\n${ROW}\n${ROW.replace("ACC", '"ACC')}\n${ROW}\n`,
      "csv-invalid",
      "begins in line 3",
    ],
    ["a number with a line end by half", `${HEAD}\n${ROW.replace("ACC", "A\rCC")}`, "csv-invalid", "line 2"],
    ["a day that does not exist", `${HEAD}\n${ROW.replace("05-23", "02-30")}`, "wrong-type", "'study_date' in line 2"],
    ["an id that is none", `${HEAD}\n${ROW.replace(",4,", ",4.5,")}`, "wrong-type", "'procedure_occurrence_id'"],
    ["a time that is none", `${HEAD}\n${ROW.replace("T14", "x14")}`, "wrong-type", "'extract_generated_timestamp'"],
    ["a project without a name", `${HEAD}\n${ROW.replace("p,", " ,")}`, "wrong-type", "'project_name'"],
    ["no studies", HEAD, "no-studies", "Cannot find a study"],
    ["no bytes", "", "no-studies", "Cannot find a study"],
  ] as const
) {
  Deno.test(`StudyCsv.open() refuses ${what}, without telling a value`, async () => {
    await using dir = await temporaryFolder();
    const path = await write(dir.path, text);
    const error = await assertRejects(() => StudyCsv.open(path), ExtractError, words);
    assertEquals([error.code, error.kind], [code, "input"]);
    assert(error.message.includes(path) && !/SEED|02-30/.test(error.message), error.message);
  });
}

Deno.test("StudyCsv.open() refuses what is missing, a folder, or not in UTF-8", async () => {
  await using dir = await temporaryFolder();
  const missing = await assertRejects(() => StudyCsv.open(join(dir.path, "x")), ExtractError);
  assertEquals(missing.code, "extract-missing");
  const folder = await assertRejects(() => StudyCsv.open(dir.path), ExtractError, "it must be a file");
  assertEquals(folder.code, "csv-invalid");
  const path = await write(dir.path, new Uint8Array([0x61, 0xff, 0x0a]));
  await assertRejects(() => StudyCsv.open(path), ExtractError, "UTF-8");
});

Deno.test("StudyCsv gives the same study in each extract of a project that has it", async () => {
  await using dir = await temporaryFolder();
  const path = await write(dir.path, `${HEAD}\n${ROW}\n${ROW.replace("2023", "2024")}\n${ROW}`);
  const { extracts } = await StudyCsv.open(path);
  assertEquals(extracts.map(({ timeSlug }) => timeSlug), ["2023-12-07t14-08-58", "2024-12-07t14-08-58"]);
  assertEquals((await studiesOf(path)).map((study) => study.extract_generated_timestamp), [
    "2023-12-07T14:08:58",
    "2024-12-07T14:08:58",
  ]);
});

Deno.test("StudyCsv closes the file when it is left early", async () => {
  await using dir = await temporaryFolder();
  const rows = Array.from({ length: 20_000 }, (_, i) => ROW.replace(",4,", `,${i},`).replace("ACCSEED1", `ACC${i}`));
  const { extracts: [extract] } = await StudyCsv.open(await write(dir.path, `${HEAD}\n${rows.join("\n")}`));
  for await (const study of extract?.studies() ?? []) {
    assertEquals(study.procedure_occurrence_id, 0);
    break;
  }
});

Deno.test("readCsv() gives back any fields, however the text is cut", async () => {
  const field = fc.oneof(fc.constantFrom('"', ",", "\n", '""', " ", "a"), fc.string());
  const records = fc.array(fc.array(field, { minLength: 2, maxLength: 4 }), { minLength: 1 });
  const quote = (text: string) => `"${text.replaceAll('"', '""')}"`;
  await fc.assert(fc.asyncProperty(records, fc.integer({ min: 1, max: 7 }), async (fields, size) => {
    const text = fields.map((record) => record.map(quote).join(",")).join("\r\n");
    const chunks = (async function* () {
      const points = [...text];
      for (let at = 0; at < points.length; at += size) yield points.slice(at, at + size).join("");
    })();
    assertEquals((await Array.fromAsync(readCsv(chunks))).map((record) => record.fields), fields);
  }));
});
