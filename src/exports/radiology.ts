import type { TableSchema } from "./table_schema.ts";

/** A radiology report on its way out, without identifiers. */
export interface RadiologyRow {
  /** The image's pseudonym; null if there is no image. */
  readonly image_identifier: string | null;
  /** The OMOP id of the procedure. */
  readonly procedure_occurrence_id: number | bigint;
  /** The de-identified text of the report; null if there is none. */
  readonly image_report: string | null;
}

/** The columns of `radiology.parquet`. */
export const RADIOLOGY = [
  { name: "image_identifier", type: "string", optional: true, statistics: true },
  { name: "procedure_occurrence_id", type: "int64" },
  { name: "image_report", type: "string", optional: true },
] as const satisfies TableSchema;
