import type { Ledger } from "../database/mod.ts";
import { type OmopExtract, ParquetExport } from "../exports/mod.ts";
import { NotPopulatedError } from "./errors.ts";

/** How {@linkcode exportExtract} works. */
export interface ExportTaskOptions {
  /** Ends it; `latest` still points to a whole extract. */
  readonly signal?: AbortSignal;
  /** Whether an export of the same extract with other content is replaced. @default {false} */
  readonly replace?: boolean;
  /** Called after each file. */
  readonly onFile?: () => void;
}

/** What {@linkcode exportExtract} wrote. */
export interface ExportTaskResult {
  /** Parquet files of the export. */
  readonly parquetFiles: number;
  /** Rows of `radiology/radiology.parquet`. */
  readonly reportRows: number;
  /** Studies of the extract whose report is not there: still awaited, or failed. */
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
 * @param options Signal, progress, replacement.
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
  const { signal, replace = false, onFile } = options;
  const abort = signal === undefined ? {} : { signal };
  const known = await ledger.findExtract(extract.projectSlug, extract.timeSlug, abort);
  if (known === undefined || known.studies === 0) throw new NotPopulatedError(extract.dir);
  await using parquetExport = new ParquetExport(extract.projectName, extract.extractTime, exportDir);
  const copied = await parquetExport.copyOmop(extract, abort);
  copied.forEach(() => onFile?.());
  const radiology = await parquetExport.writeRadiology(ledger.reports(known.extractId, abort), abort);
  onFile?.();
  const { unchanged } = await parquetExport.finish({ ...abort, replace });
  return {
    parquetFiles: copied.filter(({ path }) => /\.parquet$/i.test(path)).length + 1,
    reportRows: radiology.rows,
    missingReports: known.studies - radiology.rows,
    unchanged,
    folder: parquetExport.dir,
  };
}
