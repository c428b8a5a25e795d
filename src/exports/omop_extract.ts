import { join } from "node:path";
import { ExtractError } from "./errors.ts";
import { readSummary } from "./extract_summary.ts";
import { checkColumns, readColumns } from "./read_columns.ts";
import { slugify, timeSlug } from "./slug.ts";
import { type DroppedCounts, noneDropped, readLinks, StudyJoin } from "./study_join.ts";
import type { Study, StudySource } from "./study_source.ts";
import { findFolder, findTable, type FoundTable } from "./table_files.ts";

const COLUMNS = {
  people: ["person_id", "PrimaryMrn"],
  links: ["procedure_occurrence_id", "AccessionNumber"],
  procedures: ["procedure_occurrence_id", "person_id", "procedure_date"],
} as const;

type Tables = Readonly<Record<keyof typeof COLUMNS, FoundTable>>;

/**
 * An extract of OMOP ES: a folder with `extract_summary.json`, `public/` (de-identified OMOP tables) and `private/` (which person and procedure of
 * these has which MRN and accession number).
 *
 * @example The studies of an extract
 * ```ts ignore
 * const extract = await OmopExtract.open("/data/omop-es/2023-12-07");
 * for await (const study of extract.studies()) await publish(study);
 * console.error(`${extract.dropped.noAccessionNumber} procedures were not images`);
 * ```
 */
export class OmopExtract implements StudySource {
  /** Its folder. */
  readonly dir: string;
  /** Its folder `public`, in whichever case the name is. */
  readonly publicDir: string;
  /** The project's name as the summary has it. */
  readonly projectName: string;
  /** The project's folder name. */
  readonly projectSlug: string;
  /** When it was made: ISO 8601, without trailing zeros, `Z` for offset zero. */
  readonly extractTime: string;
  /** Its time's folder name. */
  readonly timeSlug: string;
  /** Which way its tables lie there: `public/X.parquet`, `public/omop/X.parquet` or `public/omop/x/*.parquet`. */
  readonly layout: string;
  readonly #tables: Tables;
  #dropped: DroppedCounts = noneDropped();

  private constructor(
    dir: string,
    publicDir: string,
    summary: { projectName: string; extractTime: string },
    tables: Tables,
  ) {
    this.dir = dir;
    this.publicDir = publicDir;
    this.projectName = summary.projectName;
    this.projectSlug = slugify(summary.projectName);
    this.extractTime = summary.extractTime;
    this.timeSlug = timeSlug(summary.extractTime);
    this.layout = tables.procedures.layout;
    this.#tables = tables;
  }

  /**
   * Opens an extract: reads its summary and checks that the tables are there, readable and have the columns.
   *
   * @param dir Its folder.
   * @param options How to stop.
   * @returns The extract. Nothing is held open.
   * @throws {ExtractError} Naming the file or column that is missing or unusable.
   * @throws {InvalidSlugError} If the project's name has no letter or digit.
   */
  static async open(dir: string, options: { readonly signal?: AbortSignal } = {}): Promise<OmopExtract> {
    await checkFolder(dir);
    const summary = await readSummary(join(dir, "extract_summary.json"), options);
    const tables = {
      people: await findTable(dir, "private", "PERSON_LINKS"),
      links: await findTable(dir, "private", "PROCEDURE_OCCURRENCE_LINKS"),
      procedures: await findTable(dir, "public", "PROCEDURE_OCCURRENCE"),
    };
    await checkColumns(tables.people, COLUMNS.people);
    await checkColumns(tables.links, COLUMNS.links);
    await checkColumns(tables.procedures, COLUMNS.procedures);
    options.signal?.throwIfAborted();
    return new OmopExtract(dir, await findFolder(dir, "public"), summary, tables);
  }

  /** What the last call of {@linkcode studies} left out so far. */
  get dropped(): Readonly<DroppedCounts> {
    return { ...this.#dropped };
  }

  /**
   * The studies: procedures joined with their person's MRN and their own accession number. Memory holds the two link tables and the identities of
   * the studies given so far, not the procedures.
   *
   * @param options How to stop.
   * @returns Each study once, in the order of the procedures.
   * @throws {ExtractError} `no-studies` at the end if there was none; `wrong-type` if a column holds what cannot be an id, a number or a day.
   */
  async *studies(options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<Study> {
    const dropped = this.#dropped = noneDropped();
    const { people, links, procedures } = this.#tables;
    const mrns = await readLinks(people, COLUMNS.people, options);
    const accessionNumbers = await readLinks(links, COLUMNS.links, options);
    const join = new StudyJoin(mrns, accessionNumbers, dropped);
    const common = { project_name: this.projectSlug, extract_generated_timestamp: this.extractTime };
    for await (const batch of readColumns(procedures, COLUMNS.procedures, options)) {
      for (const study of join.studies(batch)) yield { ...study, ...common };
    }
    if (join.count === 0) {
      throw new ExtractError(
        "no-studies",
        `Cannot find a study in '${this.dir}': no procedure has a person with an MRN, an accession number and a date`,
      );
    }
  }
}

async function checkFolder(dir: string): Promise<void> {
  try {
    if ((await Deno.stat(dir)).isDirectory) return;
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory)) {
      throw new ExtractError("access-refused", `Cannot open '${dir}': give this user, and Deno, read access`, {
        cause,
      });
    }
  }
  throw new ExtractError("extract-missing", `Cannot find the folder '${dir}': give the folder that OMOP ES wrote`);
}
