import { dayToNumber } from "../calendar.ts";
import { normaliseTimestamp } from "../timestamp.ts";
import { type CsvRecord, readCsv } from "./csv.ts";
import { ExtractError } from "./errors.ts";
import type { Study } from "./omop_extract.ts";
import { slugify } from "./slug.ts";
import { canTravel, type DroppedCounts, noneDropped } from "./study_join.ts";

const COLUMNS = [
  ...["project_name", "mrn", "accession_number", "study_date"] as const,
  ...["procedure_occurrence_id", "extract_generated_timestamp"] as const,
] as const;

type ColumnName = (typeof COLUMNS)[number];

/**
 * A list of studies as a CSV file, of one project or several. Its first line names the columns, in any order and case: `project_name`, `mrn`,
 * `accession_number`, `study_date` (`YYYY-MM-DD`), `procedure_occurrence_id` and `extract_generated_timestamp` (ISO 8601). Others are passed over.
 *
 * @example
 * ```ts ignore
 * const list = new StudyCsv("/data/studies.csv");
 * for await (const study of list.studies()) await publish(study);
 * ```
 */
export class StudyCsv {
  /** Its path. */
  readonly path: string;
  #dropped = noneDropped();

  /** Nothing is read yet. @param path Its path; the text is UTF-8. */
  constructor(path: string) {
    this.path = path;
  }

  /** What the last call of {@linkcode studies} left out so far. */
  get dropped(): Readonly<DroppedCounts> {
    return { ...this.#dropped };
  }

  /**
   * The studies. Memory holds the identities of those given so far.
   *
   * @param options How to stop.
   * @returns Each study of a project once, in the order of the lines.
   * @throws {ExtractError} Naming file, line and column: `csv-invalid`, `column-missing` or `wrong-type`; `no-studies` at the end if there was none.
   * @throws {InvalidSlugError} If a project's name has no letter or digit.
   */
  async *studies(options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<Study> {
    const dropped = this.#dropped = noneDropped();
    const given = new Set<string>();
    let at: ReadonlyMap<ColumnName, number> | undefined;
    let width = 0;
    for await (const record of this.#records(options.signal)) {
      if (at === undefined) {
        at = this.#findColumns(record.fields);
        width = record.fields.length;
        continue;
      }
      if (record.fields.length !== width) {
        throw this.#invalid(`line ${record.line} has ${record.fields.length} fields, the first line has ${width}`);
      }
      const study = this.#study(record, at, dropped);
      if (study === undefined) continue;
      const { project_name, mrn, accession_number, study_date } = study;
      const size = given.size;
      given.add([project_name, accession_number, mrn, study_date].join("\n"));
      if (given.size > size) yield study;
      else dropped.duplicate++;
    }
    if (given.size === 0) {
      throw new ExtractError(
        "no-studies",
        `Cannot find a study in '${this.path}': no line has an MRN, an accession number and a date`,
      );
    }
  }

  /** A study, or `undefined` if one of the values that may be missing is. */
  #study(record: CsvRecord, at: ReadonlyMap<ColumnName, number>, dropped: DroppedCounts): Study | undefined {
    const text = (column: ColumnName) => record.fields[at.get(column) ?? -1]?.trim() ?? "";
    const wrong = (column: ColumnName, wanted: string) =>
      new ExtractError(
        "wrong-type",
        `Cannot use column '${column}' in line ${record.line} of '${this.path}': it must hold ${wanted}`,
      );
    const [mrn, accession_number, study_date] = [text("mrn"), text("accession_number"), text("study_date")];
    const id = text("procedure_occurrence_id");
    const extract_generated_timestamp = normaliseTimestamp(text("extract_generated_timestamp"));
    if (text("project_name") === "") throw wrong("project_name", "a name");
    if (!/^-?\d+$/.test(id) || !Number.isSafeInteger(Number(id))) {
      throw wrong("procedure_occurrence_id", "a whole number of at most 2^53 - 1");
    }
    if (extract_generated_timestamp === undefined) {
      throw wrong("extract_generated_timestamp", "a date and time as YYYY-MM-DDTHH:MM:SS");
    }
    if (study_date !== "" && dayToNumber(study_date) === undefined) throw wrong("study_date", "a day as YYYY-MM-DD");
    if (accession_number === "") dropped.noAccessionNumber++;
    else if (mrn === "") dropped.unknownPerson++;
    else if (study_date === "") dropped.noStudyDate++;
    else if (!canTravel(mrn) || !canTravel(accession_number)) dropped.unusable++;
    else {
      const project_name = slugify(text("project_name"));
      const procedure_occurrence_id = Number(id);
      return { mrn, accession_number, study_date, procedure_occurrence_id, project_name, extract_generated_timestamp };
    }
    return undefined;
  }

  #findColumns(names: readonly string[]): ReadonlyMap<ColumnName, number> {
    const present = names.map((name) => name.trim().toLowerCase());
    return new Map(COLUMNS.map((column) => {
      const index = present.indexOf(column);
      if (index >= 0 && present.indexOf(column, index + 1) < 0) return [column, index];
      const problem = index < 0 ? "Cannot find" : "Cannot choose between two of";
      throw new ExtractError(
        "column-missing",
        `${problem} column '${column}' in '${this.path}': its first line must name it once`,
      );
    }));
  }

  async *#records(signal: AbortSignal | undefined): AsyncGenerator<CsvRecord> {
    let file: Deno.FsFile;
    try {
      file = await Deno.open(this.path);
    } catch (cause) {
      if (cause instanceof Deno.errors.NotFound) {
        throw new ExtractError("extract-missing", `Cannot find '${this.path}'`, { cause });
      }
      throw new ExtractError("access-refused", `Cannot read '${this.path}': give this user, and Deno, read access`, {
        cause,
      });
    }
    // The stream closes the file, at its end and when it is left.
    const text = file.readable.pipeThrough(new TextDecoderStream("utf-8", { fatal: true }));
    try {
      for await (const record of readCsv(text)) {
        signal?.throwIfAborted();
        yield record;
      }
    } catch (cause) {
      if (cause instanceof SyntaxError) throw this.#invalid(cause.message, cause);
      if (cause instanceof TypeError) throw this.#invalid("it must be text in UTF-8", cause);
      throw cause;
    }
  }

  #invalid(problem: string, cause?: unknown): ExtractError {
    return new ExtractError("csv-invalid", `Cannot use '${this.path}': ${problem}`, { cause });
  }
}
