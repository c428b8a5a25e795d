import type { DroppedCounts } from "./study_join.ts";

/** One study that an extract asks for, with the field names of a queue message. */
export interface Study {
  /** The hospital's number of the patient. Identifies a person: never logged. */
  readonly mrn: string;
  /** The hospital's number of the study. Identifies a person: never logged. */
  readonly accession_number: string;
  /** Day of the study, `YYYY-MM-DD`. */
  readonly study_date: string;
  /** The OMOP id of the procedure, unique in its extract. */
  readonly procedure_occurrence_id: number;
  /** The project's slug. */
  readonly project_name: string;
  /** When the extract was made, ISO 8601. */
  readonly extract_generated_timestamp: string;
}

/** Studies that are asked for together, for one project: an extract of OMOP ES, or those of one extract in a list. */
export interface StudySource {
  /** The project's name. */
  readonly projectName: string;
  /** The project's folder name. */
  readonly projectSlug: string;
  /** When it was made: ISO 8601, without trailing zeros, `Z` for offset zero. */
  readonly extractTime: string;
  /** Its time's folder name. */
  readonly timeSlug: string;
  /** How its tables lie, such as `public/X.parquet`; `csv` for a list. */
  readonly layout: string;
  /** What the last call of {@linkcode studies} left out so far. */
  readonly dropped: Readonly<DroppedCounts>;
  /** Each study once. @param options How to stop. */
  studies(options?: { readonly signal?: AbortSignal }): AsyncGenerator<Study>;
}
