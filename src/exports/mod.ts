/**
 * Extracts of OMOP ES in, exports for research out: reads which studies an extract asks for, writes parquet files that every reader agrees on, and
 * lays out the folder that is uploaded. Folder names are those of the Python PIXL.
 *
 * @module
 */
export * from "./errors.ts";
export type { ExportedFile } from "./file_tree.ts";
export { compareTimeSlugs } from "./point_latest.ts";
export {
  type Manifest,
  type ManifestColumn,
  type ManifestFile,
  type ManifestProblem,
  readManifest,
} from "./manifest.ts";
export * from "./omop_extract.ts";
export * from "./parquet_export.ts";
export type { RadiologyRow } from "./radiology.ts";
export * from "./slug.ts";
export * from "./study_csv.ts";
export type { DroppedCounts } from "./study_join.ts";
export type { Study, StudySource } from "./study_source.ts";
export type { Compression } from "./parquet_encoder.ts";
export type { CellOf, Column, ColumnType, JsonValue, Row, TableSchema, ValueOf } from "./table_schema.ts";
export type { WrittenFile } from "./row_writer.ts";
export { TableWriter, type TableWriterOptions } from "./table_writer.ts";
