import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { writeSyntheticExtract } from "../../src/demo/synthetic_extract.ts";
import { ExtractError, OmopExtract, type Study } from "../../src/exports/mod.ts";
import { fixtureTest } from "../support/fixtures.ts";
import { runSql } from "./read_back.ts";
import { temporaryFolder } from "./temporary_folder.ts";
import { writeTable } from "./write_table.ts";

const SUMMARY = { datetime: "2023-12-07 14:08:58", settings: { cdm_source_name: "Test Extract" } };

interface Tables {
  /** Select lists in SQL; the columns are named as OMOP ES does. */
  people?: string;
  links?: string;
  procedures?: string;
}

/** Writes an extract with DuckDB, from lists of SQL values. */
async function writeExtract(dir: string, tables: Tables = {}): Promise<string> {
  const {
    people = "(1, 'MRNSEED1'), (2, 'MRNSEED2')",
    links = "(10, 'ACCSEED1'), (11, 'ACCSEED2'), (12, null)",
    procedures = "(10, 1, date '2020-05-23'), (11, 2, date '1955-03-03'), (12, 1, date '2020-05-23')",
  } = tables;
  await Deno.mkdir(join(dir, "private"), { recursive: true });
  await Deno.mkdir(join(dir, "public"), { recursive: true });
  await Deno.writeTextFile(join(dir, "extract_summary.json"), JSON.stringify(SUMMARY));
  const copy = (values: string, columns: string, file: string, options = "") =>
    `copy (select * from (values ${values}) t(${columns})) to '${join(dir, file)}' (format parquet${options})`;
  await runSql(
    copy(people, "person_id, PrimaryMrn", "private/PERSON_LINKS.parquet"),
    copy(
      links,
      "procedure_occurrence_id, AccessionNumber",
      "private/PROCEDURE_OCCURRENCE_LINKS.parquet",
      ", codec zstd",
    ),
    copy(
      procedures,
      "procedure_occurrence_id, person_id, procedure_date",
      "public/PROCEDURE_OCCURRENCE.parquet",
      ", parquet_version v2",
    ),
  );
  return dir;
}

async function studiesOf(dir: string): Promise<{ studies: Study[]; dropped: OmopExtract["dropped"] }> {
  const extract = await OmopExtract.open(dir);
  return { studies: await Array.fromAsync(extract.studies()), dropped: extract.dropped };
}

async function short(dir: string): Promise<string[]> {
  const { studies } = await studiesOf(dir);
  return studies.map((study) => `${study.mrn} ${study.accession_number} ${study.study_date}`);
}

Deno.test("OmopExtract.open() reads project and time", async () => {
  await using dir = await temporaryFolder();
  const extract = await OmopExtract.open(await writeExtract(dir.path));
  assertEquals(
    [extract.dir, extract.projectName, extract.projectSlug, extract.extractTime, extract.timeSlug],
    [dir.path, "Test Extract", "test-extract", "2023-12-07T14:08:58", "2023-12-07t14-08-58"],
  );
});

Deno.test("OmopExtract.studies() joins the tables and leaves out procedures without accession number", async () => {
  await using dir = await temporaryFolder();
  const { studies, dropped } = await studiesOf(await writeExtract(dir.path));
  const common = { project_name: "test-extract", extract_generated_timestamp: "2023-12-07T14:08:58" };
  assertEquals(studies, [
    { mrn: "MRNSEED1", accession_number: "ACCSEED1", study_date: "2020-05-23", procedure_occurrence_id: 10, ...common },
    { mrn: "MRNSEED2", accession_number: "ACCSEED2", study_date: "1955-03-03", procedure_occurrence_id: 11, ...common },
  ]);
  assertEquals(dropped, { noAccessionNumber: 1, unknownPerson: 0, noStudyDate: 0, unusable: 0, duplicate: 0 });
});

Deno.test("OmopExtract.studies() counts what it leaves out, by reason, anew each time", async () => {
  await using dir = await temporaryFolder();
  await writeExtract(dir.path, {
    people: "(1, 'MRNSEED1'), (2, null), (3, '  ')",
    links:
      "(10, ' ACCSEED1 '), (11, 'ACCSEED1'), (12, ''), (13, 'ACCSEED3'), (14, 'ACCSEED4'), (15, 'ACCSEED5'), (16, 'A' || chr(9) || 'B')",
    procedures:
      "(10, 1, date '2020-01-01'), (11, 1, date '2020-01-01'), (12, 1, date '2020-01-01'), (13, 2, date '2020-01-01'), (14, 3, date '2020-01-01'), (15, 1, null), (16, 1, date '2020-01-01'), (99, 1, date '2020-01-01'), (10, 77, date '2020-01-01')",
  });
  const extract = await OmopExtract.open(dir.path);
  for (let time = 0; time < 2; time++) {
    assertEquals((await Array.fromAsync(extract.studies())).length, 1);
    assertEquals(extract.dropped, {
      noAccessionNumber: 2,
      unknownPerson: 3,
      noStudyDate: 1,
      unusable: 1,
      duplicate: 1,
    });
  }
});

Deno.test("OmopExtract.studies() gives a study for every row of the join", async () => {
  await using dir = await temporaryFolder();
  await writeExtract(dir.path, {
    people: "(1, 'MRNSEED1'), (1, 'MRNSEED2'), (1, 'MRNSEED1')",
    links: "(10, 'ACCSEED1'), (10, 'ACCSEED2')",
    procedures: "(10, 1, date '2020-01-01')",
  });
  assertEquals(await short(dir.path), [
    "MRNSEED1 ACCSEED1 2020-01-01",
    "MRNSEED1 ACCSEED2 2020-01-01",
    "MRNSEED2 ACCSEED1 2020-01-01",
    "MRNSEED2 ACCSEED2 2020-01-01",
  ]);
});

Deno.test("OmopExtract.studies() takes any number of accession numbers of one procedure in its stride", async () => {
  await using dir = await temporaryFolder();
  await writeExtract(dir.path);
  const path = join(dir.path, "private", "PROCEDURE_OCCURRENCE_LINKS.parquet");
  const select = "select 10 procedure_occurrence_id, 'ACCSEED' || (i % 50000) AccessionNumber from range(100000) t(i)";
  await runSql(`copy (${select}) to '${path}' (format parquet)`);
  const started = performance.now();
  assertEquals((await studiesOf(dir.path)).studies.length, 50_000);
  // A fraction of a second; a minute if each were compared with all before.
  assert(performance.now() - started < 10_000, "It took too long");
});

Deno.test("OmopExtract.studies() keeps numbers exact and text as it is but for blanks around it", async () => {
  await using dir = await temporaryFolder();
  const one = { procedures: "(10, 1, date '2020-01-01')" };
  const mrnOf = async (people: string, links = "(10, 'ACCSEED1')") =>
    (await short(await writeExtract(dir.path, { people, links, ...one })))[0]?.split(" ")[0];
  assertEquals(await mrnOf("(1, 9223372036854775807::bigint)"), "9223372036854775807");
  assertEquals(await mrnOf("(1, 987654321::double)"), "987654321");
  assertEquals(await mrnOf("(1, 987654321::decimal(18, 0))"), "987654321");
  assertEquals(await mrnOf("(1::double, '000123')"), "000123");
  assertEquals(await mrnOf("('1', ' 000123 ')"), "000123");
  assertEquals(await mrnOf("(1::bigint, 7)", "(10::double, 'ACCSEED1')"), "7");
});

for (
  const [type, value] of [
    ["a date", "date '2020-07-01'"],
    ["a date before 1970", "date '1955-07-01'"],
    ["a time in microseconds", "timestamp '2020-07-01 00:00:00'"],
    ["a time in milliseconds", "timestamp_ms '2020-07-01 23:59:59.999'"],
    ["a time in nanoseconds", "timestamp_ns '2020-07-01 23:59:59.999999999'"],
    ["a time before 1970", "timestamp '1955-07-01 23:59:59.999999'"],
    ["text", "'2020-07-01'"],
    ["text with a time", "'2020-07-01 23:30:00'"],
  ] as const
) {
  Deno.test(`OmopExtract.studies() reads the day from ${type}`, async () => {
    await using dir = await temporaryFolder();
    await writeExtract(dir.path, { procedures: `(10, 1, ${value})` });
    assertEquals(await short(dir.path), [`MRNSEED1 ACCSEED1 ${value.includes("1955") ? "1955" : "2020"}-07-01`]);
  });
}

Deno.test("OmopExtract.studies() reads more rows than a row group has", async () => {
  await using dir = await temporaryFolder();
  await writeExtract(dir.path);
  const ids = Array.from({ length: 20_000 }, (_, id) => id);
  await writeTable(
    join(dir.path, "private", "PROCEDURE_OCCURRENCE_LINKS.parquet"),
    [{ name: "procedure_occurrence_id", type: "int64" }, { name: "AccessionNumber", type: "string", optional: true }],
    ids.map((id) => ({ procedure_occurrence_id: id, AccessionNumber: id % 2 === 0 ? `ACCSEED${id}` : null })),
  );
  await writeTable(
    join(dir.path, "public", "PROCEDURE_OCCURRENCE.parquet"),
    [
      { name: "procedure_occurrence_id", type: "int64" },
      { name: "person_id", type: "int32" },
      { name: "procedure_date", type: "date" },
    ],
    ids.map((id) => ({ procedure_occurrence_id: id, person_id: 1 + id % 2, procedure_date: "2020-01-01" })),
  );
  const { studies, dropped } = await studiesOf(dir.path);
  assertEquals(studies.map(({ procedure_occurrence_id }) => procedure_occurrence_id), ids.filter((id) => id % 2 === 0));
  assertEquals(dropped.noAccessionNumber, 10_000);
});

Deno.test("OmopExtract.studies() stops when aborted", async () => {
  await using dir = await temporaryFolder();
  const extract = await OmopExtract.open(await writeExtract(dir.path));
  const signal = AbortSignal.abort(new Error("Stop"));
  await assertRejects(() => Array.fromAsync(extract.studies({ signal })), Error, "Stop");
});

for (
  const [layout, from, to] of [
    ["public/omop/", "public/PROCEDURE_OCCURRENCE.parquet", "public/omop/PROCEDURE_OCCURRENCE.parquet"],
    ["lower case", "private/PERSON_LINKS.parquet", "private/person_links.PARQUET"],
    ["parts", "public/PROCEDURE_OCCURRENCE.parquet", "public/omop/procedure_occurrence/part-0.parquet"],
  ] as const
) {
  Deno.test(`OmopExtract.open() finds tables in the layout ${layout}`, async () => {
    await using dir = await temporaryFolder();
    await writeExtract(dir.path);
    await Deno.mkdir(join(dir.path, "public", "omop", "procedure_occurrence"), { recursive: true });
    await Deno.rename(join(dir.path, from), join(dir.path, to));
    if (layout === "parts") {
      await Deno.copyFile(
        join(dir.path, to),
        join(dir.path, "public", "omop", "procedure_occurrence", "part-1.parquet"),
      );
    }
    const { studies, dropped } = await studiesOf(dir.path);
    assertEquals([studies.length, dropped.duplicate], [2, layout === "parts" ? 2 : 0]);
  });
}

async function refusal(dir: string): Promise<ExtractError> {
  return await assertRejects(() => studiesOf(dir), ExtractError);
}

Deno.test("OmopExtract.open() says which folder or file is missing", async () => {
  await using dir = await temporaryFolder();
  assertEquals((await refusal(join(dir.path, "nothing"))).code, "extract-missing");
  assertEquals((await refusal(dir.path)).code, "summary-missing");
  for (const file of ["private/PERSON_LINKS", "private/PROCEDURE_OCCURRENCE_LINKS", "public/PROCEDURE_OCCURRENCE"]) {
    await writeExtract(dir.path);
    await Deno.remove(join(dir.path, `${file}.parquet`));
    const { code, message } = await refusal(dir.path);
    assertEquals([code, message.startsWith(`Cannot find '${file}.parquet' in '${dir.path}'`)], ["table-missing", true]);
  }
});

for (
  const [summary, problem] of [
    ["", "it must be JSON in UTF-8"],
    ["[]", "'settings' is missing"],
    ["null", "it must be a JSON object"],
    ["{}", "'settings' is missing"],
    [JSON.stringify({ ...SUMMARY, settings: {} }), "'settings.cdm_source_name' is missing"],
    [
      JSON.stringify({ ...SUMMARY, settings: { cdm_source_name: " " } }),
      "'settings.cdm_source_name' must not be empty",
    ],
    [JSON.stringify({ ...SUMMARY, datetime: undefined }), "'datetime' is missing"],
    [JSON.stringify({ ...SUMMARY, datetime: "2023-02-30 00:00:00" }), "'datetime' must be a date and time"],
    [JSON.stringify({ ...SUMMARY, datetime: 20231207 }), "'datetime' must be text"],
  ] as const
) {
  Deno.test(`OmopExtract.open() refuses the summary ${summary || "of no bytes"}`, async () => {
    await using dir = await temporaryFolder();
    await writeExtract(dir.path);
    await Deno.writeTextFile(join(dir.path, "extract_summary.json"), summary);
    const error = await assertRejects(() => OmopExtract.open(dir.path), ExtractError, problem);
    assertEquals([error.code, error.kind], ["summary-invalid", "input"]);
  });
}

Deno.test("OmopExtract.open() names the column that is missing", async () => {
  await using dir = await temporaryFolder();
  await writeExtract(dir.path);
  const path = join(dir.path, "private", "PERSON_LINKS.parquet");
  await runSql(`copy (select 1 person_id, 'MRNSEED1' mrn) to '${path}' (format parquet)`);
  const error = await assertRejects(
    () => OmopExtract.open(dir.path),
    ExtractError,
    `Cannot find column 'PrimaryMrn' in '${path}'`,
  );
  assertEquals(error.code, "column-missing");
});

Deno.test("OmopExtract.open() finds folders in upper and lower case", async () => {
  await using dir = await temporaryFolder();
  await writeExtract(dir.path);
  const [upper, table] = [join(dir.path, "PUBLIC"), "Procedure_Occurrence.PARQUET"];
  await Deno.rename(join(dir.path, "private"), join(dir.path, "Private"));
  await Deno.mkdir(join(upper, "Omop"), { recursive: true });
  await Deno.rename(join(dir.path, "public", "PROCEDURE_OCCURRENCE.parquet"), join(upper, "Omop", table));
  await Deno.remove(join(dir.path, "public"));
  assertEquals((await OmopExtract.open(dir.path)).publicDir, upper);
  assertEquals((await short(dir.path)).length, 2);
});

for (
  const [what, place, first, second] of [
    ["files", "private", "PERSON_LINKS.parquet", "person_links.parquet"],
    ["folders", "", "Private", "private"],
    ["folders of parts", "private", "PERSON_LINKS", "person_links"],
  ] as const
) {
  Deno.test({
    name: `OmopExtract.open() refuses to choose between ${what} whose names differ in upper and lower case`,
    // Elsewhere they may be the same.
    ignore: Deno.build.os !== "linux",
    fn: async () => {
      await using dir = await temporaryFolder();
      await writeExtract(dir.path);
      const table = join(dir.path, "private", "PERSON_LINKS.parquet");
      if (what === "files") await Deno.copyFile(table, join(dir.path, place, second));
      else {
        if (what === "folders of parts") await Deno.remove(table);
        for (const name of [first, second]) await Deno.mkdir(join(dir.path, place, name), { recursive: true });
      }
      const wanted = `Cannot choose between '${first}' and '${second}' in '${join(dir.path, place)}'`;
      const error = await assertRejects(() => OmopExtract.open(dir.path), ExtractError, wanted);
      assertEquals(error.code, "table-missing");
    },
  });
}

Deno.test({
  name: "OmopExtract.open() refuses a table that is a pipe",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await using dir = await temporaryFolder();
    await writeExtract(dir.path);
    const path = join(dir.path, "private", "PERSON_LINKS.parquet");
    await Deno.remove(path);
    await new Deno.Command("mkfifo", { args: [path] }).output();
    const error = await assertRejects(() => OmopExtract.open(dir.path), ExtractError, path);
    assertEquals(error.code, "unreadable-parquet");
  },
});

Deno.test("OmopExtract.open() refuses a table that is cut off or no parquet", async () => {
  await using dir = await temporaryFolder();
  await writeExtract(dir.path);
  const path = join(dir.path, "public", "PROCEDURE_OCCURRENCE.parquet");
  const bytes = await Deno.readFile(path);
  for (const cut of [0, 3, 100, bytes.length - 1]) {
    await Deno.writeFile(path, bytes.subarray(0, cut));
    const error = await assertRejects(
      () => OmopExtract.open(dir.path),
      ExtractError,
      `Cannot read '${path}': it is cut off or damaged`,
    );
    assertEquals(error.code, "unreadable-parquet");
  }
});

Deno.test("OmopExtract.studies() refuses a table that is damaged inside", async () => {
  await using dir = await temporaryFolder();
  await writeExtract(dir.path);
  const path = join(dir.path, "private", "PROCEDURE_OCCURRENCE_LINKS.parquet");
  const bytes = await Deno.readFile(path);
  bytes.fill(0xff, 4, 40);
  await Deno.writeFile(path, bytes);
  assertEquals((await refusal(dir.path)).code, "unreadable-parquet");
});

for (
  const [what, tables, column] of [
    ["an MRN with a fraction", { people: "(1, 1.5::double)" }, "PrimaryMrn"],
    ["an MRN that a double cannot hold", { people: "(1, 9007199254740993::double)" }, "PrimaryMrn"],
    ["an accession number that is true or false", { links: "(10, true)" }, "AccessionNumber"],
    ["a person that is a list", { procedures: "(10, [1], date '2020-01-01')" }, "person_id"],
    ["a day that does not exist", { procedures: "(10, 1, '2020-02-30')" }, "procedure_date"],
    ["a day in other order", { procedures: "(10, 1, '01/02/2020')" }, "procedure_date"],
    ["a day as a number", { procedures: "(10, 1, 20200101)" }, "procedure_date"],
    [
      "an id that is text",
      { links: "('x', 'ACCSEED1')", procedures: "('x', 1, date '2020-01-01')" },
      "procedure_occurrence_id",
    ],
    [
      "an id of more than 2^53",
      { links: "(9007199254740993, 'ACCSEED1')", procedures: "(9007199254740993, 1, date '2020-01-01')" },
      "procedure_occurrence_id",
    ],
  ] as const
) {
  Deno.test(`OmopExtract.studies() refuses ${what}, without telling it`, async () => {
    await using dir = await temporaryFolder();
    const error = await refusal(await writeExtract(dir.path, tables));
    assertEquals([error.code, error.message.includes(`'${column}'`)], ["wrong-type", true]);
    assertEquals(/9007|1\.5|20200101|2020|'x'/.test(error.message.replaceAll("YYYY-MM-DD", "")), false);
  });
}

Deno.test("OmopExtract.studies() names the part in which a value is wrong", async () => {
  await using dir = await temporaryFolder();
  await writeExtract(dir.path);
  const parts = join(dir.path, "public", "omop", "procedure_occurrence");
  await Deno.mkdir(parts, { recursive: true });
  const whole = join(dir.path, "public", "PROCEDURE_OCCURRENCE.parquet");
  await Deno.rename(whole, join(parts, "part-0.parquet"));
  const wrong = "select 10 procedure_occurrence_id, 1 person_id, 'May' procedure_date";
  await runSql(`copy (${wrong}) to '${join(parts, "part-1.parquet")}' (format parquet)`);
  const { message } = await refusal(dir.path);
  assert(message.startsWith(`Cannot use column 'procedure_date' of '${join(parts, "part-1.parquet")}'`), message);
});

Deno.test("OmopExtract.studies() refuses an extract without studies", async () => {
  await using dir = await temporaryFolder();
  assertEquals((await refusal(await writeExtract(dir.path, { links: "(1, 'ACCSEED1')" }))).code, "no-studies");
});

Deno.test("writeSyntheticExtract() writes as many studies as asked for", async () => {
  await using dir = await temporaryFolder();
  for (const studies of [2, 3, 40]) {
    await writeSyntheticExtract(dir.path, { studies });
    const read = await studiesOf(dir.path);
    assertEquals([read.studies.length, read.dropped.noAccessionNumber > 0], [studies, true]);
  }
});

await fixtureTest("OmopExtract.studies() reads the fixture", "omop-es", async (path) => {
  const study = {
    mrn: "987654321",
    study_date: "2020-05-23",
    project_name: "test-extract-uclh-omop-cdm",
    extract_generated_timestamp: "2023-12-07T14:08:58",
  };
  assertEquals((await studiesOf(path)).studies, [
    { ...study, accession_number: "AA12345601", procedure_occurrence_id: 4 },
    { ...study, accession_number: "AA12345605", procedure_occurrence_id: 5 },
  ]);
});

Deno.test("OmopExtract.studies() reads a compressed page that holds nothing but nulls", async () => {
  await using dir = await temporaryFolder();
  // Enough for a page of one column in which no study has a value.
  await writeSyntheticExtract(dir.path, { studies: 6_600 });
  const extract = await OmopExtract.open(dir.path);
  assertEquals((await Array.fromAsync(extract.studies())).length, 6_600);
});
