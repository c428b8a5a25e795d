import { type CsvLine, readStudyLines } from "./study_lines.ts";
import { ExtractError } from "./errors.ts";
import { timeSlug } from "./slug.ts";
import { type DroppedCounts, noneDropped } from "./study_join.ts";
import type { Study, StudySource } from "./study_source.ts";

/**
 * A list of studies as a CSV file, of one project or several. Its first line names the columns, in any order and case: `project_name`, `mrn`,
 * `accession_number`, `study_date` (`YYYY-MM-DD`), `procedure_occurrence_id` and `extract_generated_timestamp` (ISO 8601). Others are passed over.
 *
 * @example
 * ```ts ignore
 * const list = await StudyCsv.open("/data/studies.csv");
 * for (const extract of list.extracts) {
 *   for await (const study of extract.studies()) await publish(study);
 * }
 * ```
 */
export class StudyCsv {
  /** Its path. */
  readonly path: string;
  /** Its studies by project and extract, in the order of their first lines. Each reads the file again. */
  readonly extracts: readonly StudySource[];

  private constructor(path: string, extracts: readonly StudySource[]) {
    this.path = path;
    this.extracts = extracts;
  }

  /**
   * Reads a list once, to its end: a wrong line is found before the first study is asked for.
   *
   * @param path Its path; the text is UTF-8.
   * @param options How to stop.
   * @returns The list. Nothing is held open.
   * @throws {ExtractError} Naming file, line and column: `csv-invalid`, `column-missing` or `wrong-type`; `no-studies`, `extract-missing` or
   * `access-refused`.
   * @throws {InvalidSlugError} If a project's name has no letter or digit.
   */
  static async open(path: string, options: { readonly signal?: AbortSignal } = {}): Promise<StudyCsv> {
    const extracts = new Map<string, StudySource>();
    let studies = 0;
    for await (const line of readStudyLines(path, options.signal)) {
      studies += Number(line.study !== undefined);
      const key = keyOf(line);
      if (!extracts.has(key)) extracts.set(key, new CsvExtract(path, line));
    }
    if (studies === 0) {
      throw new ExtractError(
        "no-studies",
        `Cannot find a study in '${path}': no line has an MRN, an accession number and a date`,
      );
    }
    return new StudyCsv(path, [...extracts.values()]);
  }
}

class CsvExtract implements StudySource {
  readonly projectName: string;
  readonly projectSlug: string;
  readonly extractTime: string;
  readonly timeSlug: string;
  readonly layout = "csv";
  readonly #path: string;
  #dropped = noneDropped();

  constructor(path: string, { projectName, projectSlug, extractTime }: CsvLine) {
    this.#path = path;
    this.projectName = projectName;
    this.projectSlug = projectSlug;
    this.extractTime = extractTime;
    this.timeSlug = timeSlug(extractTime);
  }

  get dropped(): Readonly<DroppedCounts> {
    return { ...this.#dropped };
  }

  async *studies(options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<Study> {
    const dropped = this.#dropped = noneDropped();
    const given = new Set<string>();
    const common = { project_name: this.projectSlug, extract_generated_timestamp: this.extractTime };
    for await (const line of readStudyLines(this.#path, options.signal)) {
      if (keyOf(line) !== keyOf(this)) continue;
      const { study } = line;
      if (study === undefined) {
        dropped[line.reason]++;
        continue;
      }
      const size = given.size;
      // None of them holds a line end.
      given.add(`${study.accession_number}\n${study.mrn}\n${study.study_date}`);
      if (given.size > size) yield { ...study, ...common };
      else dropped.duplicate++;
    }
  }
}

function keyOf({ projectSlug, extractTime }: Pick<StudySource, "projectSlug" | "extractTime">): string {
  return `${projectSlug}\n${extractTime}`;
}
