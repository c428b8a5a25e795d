import type { Ledger } from "../database/mod.ts";
import { type CopyProgress, type ManifestFile, type OmopExtract, ParquetExport } from "../exports/mod.ts";
import { NotPopulatedError } from "./errors.ts";

/** What can be exported by itself: the OMOP tables, or the reports. */
export type ExportPart = "omop" | "radiology";

/** How {@linkcode exportExtract} works. */
export interface ExportTaskOptions {
  /** Ends it; `latest` still points to a whole extract. */
  readonly signal?: AbortSignal;
  /** Whether an export of the same extract with other content is replaced. @default {false} */
  readonly replace?: boolean;
  /** Exports only this; what was exported of the other before stays. */
  readonly only?: ExportPart;
  /** Counts what would be exported and writes nothing. @default {false} */
  readonly dryRun?: boolean;
  /** Called after each file; in a dry run for each file that would be copied. */
  readonly onFile?: (file: Pick<ManifestFile, "path" | "bytes" | "rows">) => void;
  /** Called while the tables are copied. */
  readonly onProgress?: (progress: CopyProgress) => void;
}

/** What {@linkcode exportExtract} wrote. */
export interface ExportTaskResult {
  /** Parquet files that were copied and written. */
  readonly parquetFiles: number;
  /** Rows of `radiology/radiology.parquet`. */
  readonly reportRows: number;
  /** Studies of the extract whose report is not there: still awaited, or failed. 0 if reports are not exported. */
  readonly missingReports: number;
  /** Whether the same export was there already. */
  readonly unchanged: boolean;
  /** The export's folder. */
  readonly folder: string;
}

/**
 * Exports an extract: a copy of its OMOP tables and the reports that the ledger has for it.
 *
 * @param extract The extract; it was populated.
 * @param ledger Has the reports.
 * @param exportDir The folder of all exports.
 * @param options Signal, selection, progress, replacement.
 * @returns What was written.
 * @throws {NotPopulatedError} If the extract was not populated.
 * @throws {ExportError} If the folder cannot be written, or holds another export of this extract.
 */
export async function exportExtract(
  extract: OmopExtract,
  ledger: Ledger,
  exportDir: string,
  options: ExportTaskOptions = {},
): Promise<ExportTaskResult> {
  const { signal, replace = false, only, dryRun = false, onFile, onProgress } = options;
  const abort = signal === undefined ? {} : { signal };
  const known = await ledger.findExtract(extract.projectSlug, extract.timeSlug, abort);
  if (known === undefined || known.studies === 0) throw new NotPopulatedError(extract.dir);
  const [omop, radiology] = [only !== "radiology", only !== "omop"];
  await using parquetExport = new ParquetExport(extract.projectName, extract.extractTime, exportDir);
  if (dryRun) {
    const found = omop ? await parquetExport.findOmop(extract, abort) : [];
    found.forEach(({ path, bytes }) => onFile?.({ path, bytes, rows: null }));
    const reports = radiology ? await count(ledger.reports(known.extractId, abort)) : undefined;
    return result(found, reports, false);
  }
  const told = { ...(onProgress && { onProgress }), ...(onFile && { onFile }) };
  const copied = omop ? await parquetExport.copyOmop(extract, { ...abort, ...told }) : [];
  let reports: number | undefined;
  if (radiology) {
    const file = await parquetExport.writeRadiology(ledger.reports(known.extractId, abort), abort);
    reports = file.rows;
    onFile?.(file);
  }
  const { unchanged } = await parquetExport.finish({ ...abort, replace });
  return result(copied, reports, unchanged);

  function result(
    files: readonly { path: string }[],
    reports: number | undefined,
    unchanged: boolean,
  ): ExportTaskResult {
    const tables = files.filter(({ path }) => /\.parquet$/i.test(path)).length;
    return {
      parquetFiles: tables + Number(reports !== undefined),
      reportRows: reports ?? 0,
      missingReports: reports === undefined ? 0 : (known?.studies ?? 0) - reports,
      unchanged,
      folder: parquetExport.dir,
    };
  }
}

async function count(rows: AsyncIterable<unknown>): Promise<number> {
  let total = 0;
  for await (const _ of rows) total++;
  return total;
}
