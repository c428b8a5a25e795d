import { asDay, asInteger, asKey, asText, type Key } from "./extract_values.ts";
import { type Batch, readColumns } from "./read_columns.ts";
import type { TableFiles } from "./table_files.ts";

/** Procedures that gave no study, by reason. */
export interface DroppedCounts {
  /** It has no accession number: not an image. */
  noAccessionNumber: number;
  /** Its person has no MRN in `PERSON_LINKS`. */
  unknownPerson: number;
  /** It has no `procedure_date`. */
  noStudyDate: number;
  /** Its MRN or accession number cannot travel: it holds control characters, or more than 256 characters. */
  unusable: number;
  /** Same MRN, accession number and day as one before. */
  duplicate: number;
}

/** Nothing left out. */
export function noneDropped(): DroppedCounts {
  return { noAccessionNumber: 0, unknownPerson: 0, noStudyDate: 0, unusable: 0, duplicate: 0 };
}

/** What makes a study, of a procedure's row. */
export interface JoinedStudy {
  /** The hospital's number of the patient. */
  readonly mrn: string;
  /** The hospital's number of the study. */
  readonly accession_number: string;
  /** `YYYY-MM-DD`. */
  readonly study_date: string;
  /** The OMOP id of the procedure. */
  readonly procedure_occurrence_id: number;
}

/** Texts by id: one, or several where a table has several rows of one id. */
export type LinkIndex = ReadonlyMap<Key, string | ReadonlySet<string>>;

/**
 * Reads a link table: every text that an id has.
 *
 * @param table Its files.
 * @param columns The id and the text.
 * @param options How to stop.
 * @returns Texts by id.
 * @throws {ExtractError} If the table is damaged or of the wrong type.
 */
export async function readLinks(
  table: TableFiles,
  columns: readonly [string, string],
  options: { readonly signal?: AbortSignal },
): Promise<LinkIndex> {
  const index = new Map<Key, string | Set<string>>();
  for await (const batch of readColumns(table, columns, options)) {
    const { path, columns: [keys = [], texts = []] } = batch;
    for (let row = 0; row < batch.rows; row++) {
      const key = asKey(keys[row], path, columns[0]);
      const text = asText(texts[row], path, columns[1]);
      if (key === undefined || text === undefined) continue;
      const known = index.get(key);
      if (known === undefined) index.set(key, text);
      else if (typeof known !== "string") known.add(text);
      else if (known !== text) index.set(key, new Set([known, text]));
    }
  }
  return index;
}

/** Joins procedures with their person's MRN and their own accession number, each study once. */
export class StudyJoin {
  /** What was left out so far. */
  readonly dropped: DroppedCounts;
  readonly #mrns: LinkIndex;
  readonly #accessionNumbers: LinkIndex;
  readonly #given = new Set<string>();

  /** @param mrns By person. @param accessionNumbers By procedure. @param dropped Is counted up. */
  constructor(mrns: LinkIndex, accessionNumbers: LinkIndex, dropped: DroppedCounts) {
    this.#mrns = mrns;
    this.#accessionNumbers = accessionNumbers;
    this.dropped = dropped;
  }

  /** How many studies there were. */
  get count(): number {
    return this.#given.size;
  }

  /** @param batch Id, person and date of procedures. @returns The studies among them, as an inner join gives them. */
  studies({ path, rows, columns: [ids = [], people = [], dates = []] }: Batch): JoinedStudy[] {
    const found: JoinedStudy[] = [];
    for (let row = 0; row < rows; row++) {
      const id = asKey(ids[row], path, "procedure_occurrence_id") ?? "";
      const numbers = this.#accessionNumbers.get(id);
      const mrns = this.#mrns.get(asKey(people[row], path, "person_id") ?? "");
      const day = asDay(dates[row], path);
      if (numbers === undefined) this.dropped.noAccessionNumber++;
      else if (mrns === undefined) this.dropped.unknownPerson++;
      else if (day === undefined) this.dropped.noStudyDate++;
      else {
        for (const mrn of listOf(mrns)) {
          for (const number of listOf(numbers)) {
            if (!this.#isNew(mrn, number, day)) continue;
            const procedure_occurrence_id = asInteger(id, path);
            found.push({ mrn, accession_number: number, study_date: day, procedure_occurrence_id });
          }
        }
      }
    }
    return found;
  }

  #isNew(mrn: string, number: string, day: string): boolean {
    if (!canTravel(mrn) || !canTravel(number)) {
      this.dropped.unusable++;
      return false;
    }
    const size = this.#given.size;
    // None of them holds a line end.
    this.#given.add(`${number}\n${mrn}\n${day}`);
    if (this.#given.size > size) return true;
    this.dropped.duplicate++;
    return false;
  }
}

function listOf(texts: string | ReadonlySet<string>): Iterable<string> {
  return typeof texts === "string" ? [texts] : texts;
}

/** What a queue message can hold. */
export function canTravel(identifier: string): boolean {
  // deno-lint-ignore no-control-regex -- control characters are what it looks for
  return /^[^\u0000-\u001f\u007f]{1,256}$/.test(identifier);
}
