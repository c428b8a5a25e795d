import { join } from "node:path";
import { type Row, type TableSchema, TableWriter } from "../exports/mod.ts";

/** What a synthetic extract is like. */
export interface SyntheticExtractOptions {
  /** How many studies it asks for, at least 2: procedures with a person, an accession number and a date. @default {40} */
  readonly studies?: number;
  /** The project's name. @default {"Demo Project - Chest X-ray"} */
  readonly project?: string;
  /** When it was made, as OMOP ES writes it. @default {"2023-12-07 14:08:58"} */
  readonly extractTime?: string;
  /** Other numbers give other data, the same number the same. @default {1} */
  readonly seed?: number;
}

/** What was written. */
export interface SyntheticExtract {
  /** How many patients there are. */
  readonly patients: number;
  /** How many procedures, of which `studies` are studies. */
  readonly procedures: number;
  /** How many studies. */
  readonly studies: number;
}

const PERSON_LINKS = [
  { name: "person_id", type: "int32" },
  { name: "PrimaryMrn", type: "string", optional: true },
] as const satisfies TableSchema;

const PROCEDURE_LINKS = [
  { name: "procedure_occurrence_id", type: "int32" },
  { name: "AccessionNumber", type: "string", optional: true },
] as const satisfies TableSchema;

const PERSON = [
  { name: "person_id", type: "int32" },
  { name: "gender_concept_id", type: "int32" },
  { name: "year_of_birth", type: "int32" },
  { name: "birth_datetime", type: "timestamp", optional: true },
] as const satisfies TableSchema;

const VISIT_OCCURRENCE = [
  { name: "visit_occurrence_id", type: "int32" },
  { name: "person_id", type: "int32" },
  { name: "visit_start_date", type: "date" },
] as const satisfies TableSchema;

const PROCEDURE_OCCURRENCE = [
  { name: "procedure_occurrence_id", type: "int32" },
  { name: "person_id", type: "int32" },
  { name: "procedure_concept_id", type: "int32" },
  { name: "procedure_date", type: "date" },
  { name: "procedure_datetime", type: "timestamp" },
  { name: "quantity", type: "double", optional: true },
  { name: "visit_occurrence_id", type: "int32", optional: true },
  { name: "procedure_source_value", type: "string", optional: true },
] as const satisfies TableSchema;

const CHEST_XRAY = 4163872;
const BLOOD_TEST = 4267147;

/**
 * Writes an extract of invented patients in the shape of OMOP ES: a summary, `private/` and `public/`. Some procedures have no accession number; one
 * accession number holds blanks, quotes and letters outside ASCII, one MRN begins with zeros: odd, but such values exist.
 *
 * @param dir The folder; it is made.
 * @param options How much, and which.
 * @returns Counts.
 * @throws {RangeError} If fewer than two studies are wanted.
 */
export async function writeSyntheticExtract(
  dir: string,
  options: SyntheticExtractOptions = {},
): Promise<SyntheticExtract> {
  const { studies = 40, project = "Demo Project - Chest X-ray", extractTime = "2023-12-07 14:08:58", seed = 1 } =
    options;
  if (!Number.isSafeInteger(studies) || studies < 2) {
    throw new RangeError(
      `Cannot write an extract as 'studies' must be a whole number of at least 2: current value is ${studies}`,
    );
  }
  const random = generator(seed);
  const patients = Math.max(3, Math.ceil(studies / 4));
  const persons = Array.from({ length: patients }, (_, index) => person(index + 1, seed, random));
  const procedures = Array.from({ length: studies + Math.ceil(studies / 4) }, (_, index) => {
    // The first procedures are of different patients, so that both odd values are used.
    const owner = index < patients ? index + 1 : 1 + Math.floor(random() * patients);
    return procedure(index + 1, owner, index < studies, seed, random);
  });

  for (const folder of ["private", "public"]) await Deno.mkdir(join(dir, folder), { recursive: true, mode: 0o700 });
  await writeTable(join(dir, "private", "PERSON_LINKS.parquet"), PERSON_LINKS, persons.map(({ link }) => link));
  await writeTable(
    join(dir, "private", "PROCEDURE_OCCURRENCE_LINKS.parquet"),
    PROCEDURE_LINKS,
    procedures.map(({ link }) => link),
  );
  await writeTable(join(dir, "public", "PERSON.parquet"), PERSON, persons.map(({ row }) => row));
  await writeTable(
    join(dir, "public", "VISIT_OCCURRENCE.parquet"),
    VISIT_OCCURRENCE,
    procedures.map(({ visit }) => visit),
  );
  await writeTable(
    join(dir, "public", "PROCEDURE_OCCURRENCE.parquet"),
    PROCEDURE_OCCURRENCE,
    procedures.map(({ row }) => row),
  );
  const summary = {
    datetime: extractTime,
    settings: { site: "DEMO", cdm_source_name: project, output_format: "parquet" },
  };
  await Deno.writeTextFile(join(dir, "extract_summary.json"), `${JSON.stringify(summary, null, 1)}\n`, { mode: 0o600 });
  return { patients, procedures: procedures.length, studies };
}

async function writeTable<const S extends TableSchema>(
  path: string,
  schema: S,
  rows: readonly Row<NoInfer<S>>[],
): Promise<void> {
  await using writer = await TableWriter.open(path, schema);
  await writer.write(rows);
  await writer.finish();
}

function person(id: number, seed: number, random: () => number): {
  link: Row<typeof PERSON_LINKS>;
  row: Row<typeof PERSON>;
} {
  const number = String(id).padStart(4, "0");
  const year = 1930 + Math.floor(random() * 80);
  return {
    link: { person_id: id, PrimaryMrn: id === 2 ? `000MRNSEED${seed}${number}` : `MRNSEED${seed}${number}` },
    row: {
      person_id: id,
      gender_concept_id: random() < 0.5 ? 8507 : 8532,
      year_of_birth: year,
      birth_datetime: random() < 0.2 ? null : `${year}-01-01T00:00:00`,
    },
  };
}

function procedure(id: number, owner: number, imaged: boolean, seed: number, random: () => number): {
  link: Row<typeof PROCEDURE_LINKS>;
  row: Row<typeof PROCEDURE_OCCURRENCE>;
  visit: Row<typeof VISIT_OCCURRENCE>;
} {
  const number = String(id).padStart(5, "0");
  const day = new Date(Date.UTC(2015, 0, 1 + Math.floor(random() * 3000))).toISOString().slice(0, 10);
  const hour = String(Math.floor(random() * 24)).padStart(2, "0");
  const accessionNumber = id === 1 ? `ACCSEED ${seed} "Größe" 'β' ${number}` : `ACCSEED${seed}${number}`;
  return {
    link: { procedure_occurrence_id: id, AccessionNumber: imaged ? accessionNumber : null },
    row: {
      procedure_occurrence_id: id,
      person_id: owner,
      procedure_concept_id: imaged ? CHEST_XRAY : BLOOD_TEST,
      procedure_date: day,
      procedure_datetime: `${day}T${hour}:30:00`,
      quantity: random() < 0.5 ? null : 1,
      visit_occurrence_id: id,
      procedure_source_value: imaged ? "XR chest" : null,
    },
    visit: { visit_occurrence_id: id, person_id: owner, visit_start_date: day },
  };
}

/** Mulberry32: small, fast and the same everywhere. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
