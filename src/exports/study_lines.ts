import { dayToNumber } from "../calendar.ts";
import { normaliseTimestamp } from "../timestamp.ts";
import { type CsvRecord, readCsv } from "./csv.ts";
import { ExtractError } from "./errors.ts";
import { slugify } from "./slug.ts";
import { canTravel, type DroppedCounts, type JoinedStudy } from "./study_join.ts";

const COLUMNS = [
  ...["project_name", "mrn", "accession_number", "study_date"] as const,
  ...["procedure_occurrence_id", "extract_generated_timestamp"] as const,
] as const;

type ColumnName = (typeof COLUMNS)[number];

/** What a line of a list says: whose it is, and the study, or why it is none. */
export type CsvLine = {
  readonly projectName: string;
  readonly projectSlug: string;
  readonly extractTime: string;
} & ({ readonly study: JoinedStudy } | { readonly study?: undefined; readonly reason: keyof DroppedCounts });

/**
 * Reads the lines of a list of studies.
 *
 * @param path Its path. @param signal Stops it.
 * @returns What each line says, in their order.
 * @throws {ExtractError} See `StudyCsv.open`.
 */
export async function* readStudyLines(path: string, signal: AbortSignal | undefined): AsyncGenerator<CsvLine> {
  const slugs = new Map<string, string>();
  let at: ReadonlyMap<ColumnName, number> | undefined;
  let width = 0;
  for await (const record of readRecords(path, signal)) {
    if (at === undefined) {
      at = findColumns(record.fields, path);
      width = record.fields.length;
      continue;
    }
    if (record.fields.length !== width) {
      throw invalid(path, `line ${record.line} has ${record.fields.length} fields, the first line has ${width}`);
    }
    yield parseLine(record, at, path, slugs);
  }
}

function parseLine(
  { fields, line }: CsvRecord,
  at: ReadonlyMap<ColumnName, number>,
  path: string,
  slugs: Map<string, string>,
): CsvLine {
  const text = (column: ColumnName) => fields[at.get(column) ?? -1]?.trim() ?? "";
  const wrong = (column: ColumnName, wanted: string) =>
    new ExtractError(
      "wrong-type",
      `Cannot use column '${column}' in line ${line} of '${path}': it must hold ${wanted}`,
    );
  const [mrn, accession_number, study_date] = [text("mrn"), text("accession_number"), text("study_date")];
  const [projectName, id] = [text("project_name"), text("procedure_occurrence_id")];
  const extractTime = normaliseTimestamp(text("extract_generated_timestamp"));
  if (projectName === "") throw wrong("project_name", "a name");
  if (!/^-?\d+$/.test(id) || !Number.isSafeInteger(Number(id))) {
    throw wrong("procedure_occurrence_id", "a whole number of at most 2^53 - 1");
  }
  if (extractTime === undefined) {
    throw wrong("extract_generated_timestamp", "a date and time as YYYY-MM-DDTHH:MM:SS");
  }
  if (study_date !== "" && dayToNumber(study_date) === undefined) throw wrong("study_date", "a day as YYYY-MM-DD");
  const projectSlug = slugs.get(projectName) ?? slugify(projectName);
  slugs.set(projectName, projectSlug);
  const common = { projectName, projectSlug, extractTime };
  if (accession_number === "") return { ...common, reason: "noAccessionNumber" };
  if (mrn === "") return { ...common, reason: "unknownPerson" };
  if (study_date === "") return { ...common, reason: "noStudyDate" };
  if (!canTravel(mrn) || !canTravel(accession_number)) return { ...common, reason: "unusable" };
  return { ...common, study: { mrn, accession_number, study_date, procedure_occurrence_id: Number(id) } };
}

function findColumns(names: readonly string[], path: string): ReadonlyMap<ColumnName, number> {
  const present = names.map((name) => name.trim().toLowerCase());
  return new Map(COLUMNS.map((column) => {
    const index = present.indexOf(column);
    if (index >= 0 && present.indexOf(column, index + 1) < 0) return [column, index];
    const problem = index < 0 ? "Cannot find" : "Cannot choose between two of";
    throw new ExtractError(
      "column-missing",
      `${problem} column '${column}' in '${path}': its first line must name it once`,
    );
  }));
}

async function* readRecords(path: string, signal: AbortSignal | undefined): AsyncGenerator<CsvRecord> {
  // The stream closes the file, at its end and when it is left.
  const text = (await openList(path)).readable.pipeThrough(new TextDecoderStream("utf-8", { fatal: true }));
  try {
    for await (const record of readCsv(text)) {
      signal?.throwIfAborted();
      yield record;
    }
  } catch (cause) {
    if (cause instanceof SyntaxError) throw invalid(path, cause.message, cause);
    if (cause instanceof TypeError) throw invalid(path, "it must be text in UTF-8", cause);
    throw cause;
  }
}

async function openList(path: string): Promise<Deno.FsFile> {
  try {
    // A folder opens and cannot be read; a pipe waits for its writer, and could be read only once.
    if ((await Deno.stat(path)).isFile) return await Deno.open(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) {
      throw new ExtractError("extract-missing", `Cannot find '${path}'`, { cause });
    }
    throw new ExtractError("access-refused", `Cannot read '${path}': give this user, and Deno, read access`, {
      cause,
    });
  }
  throw invalid(path, "it must be a file");
}

function invalid(path: string, problem: string, cause?: unknown): ExtractError {
  return new ExtractError("csv-invalid", `Cannot use '${path}': ${problem}`, { cause });
}
