import { join } from "node:path";
import type { Ledger } from "../database/mod.ts";
import { ExportError, ParquetExport } from "../exports/mod.ts";
import type { Destination } from "../upload/mod.ts";
import { VERSION } from "../version.ts";
import { NotPopulatedError } from "./errors.ts";
import { abortOf, isOfOneFile, type UploadTaskOptions } from "./upload_images.ts";
import { type UploadResult, UploadTally } from "./upload_result.ts";

/**
 * Sends the parquet files of each project's latest export, as `<project>/<time>/parquet/<path below the export>`. What is there and equal is not sent
 * again.
 *
 * @param ledger Records what left.
 * @param exportDir The folder of all exports.
 * @param destination The Data Safe Haven.
 * @param options Signal, selection and progress.
 * @returns Counts, with a reason for every file that could not be sent.
 * @throws {ExportError} `not-exported` if there is nothing to send.
 * @throws {NotPopulatedError} If the ledger does not know such an export.
 * @throws {UploadError} If the destination is out of reach or refuses us: then no other file would do better.
 */
export async function uploadParquet(
  ledger: Ledger,
  exportDir: string,
  destination: Destination,
  options: UploadTaskOptions = {},
): Promise<UploadResult> {
  const abort = abortOf(options);
  const tally = new UploadTally();
  for (const { projectSlug, timeSlug } of await latestExports(exportDir, options.projectSlug)) {
    const extract = await ledger.findExtract(projectSlug, timeSlug, abort);
    if (extract === undefined) throw new NotPopulatedError(join(exportDir, projectSlug, "all_extracts", timeSlug));
    const parquetExport = new ParquetExport(extract.projectName, extract.extractTime, exportDir);
    for (const file of await parquetExport.files(abort)) {
      const path = `${projectSlug}/${timeSlug}/parquet/${file.path}`;
      try {
        const sent = await ledger.findTransfer(destination.name, path, abort);
        const receipt = await destination.put(join(parquetExport.dir, file.path), path, {
          ...abort,
          ...(sent === undefined ? {} : { knownSha256: sent.sha256 }),
        });
        await ledger.recordTransfer({
          extractId: extract.extractId,
          destination: destination.name,
          path,
          bytes: receipt.bytes,
          sha256: receipt.sha256,
          verifiedBy: receipt.verifiedBy,
          version: VERSION,
        });
        tally.add(receipt);
      } catch (error) {
        if (!isOfOneFile(error)) throw error;
        tally.fail(path, error);
      }
      options.onFile?.();
    }
  }
  return tally.result;
}

interface LatestExport {
  readonly projectSlug: string;
  readonly timeSlug: string;
}

/** Each project's extract that `latest` points at. */
async function latestExports(exportDir: string, only: string | undefined): Promise<LatestExport[]> {
  const found: LatestExport[] = [];
  try {
    for await (const { name, isDirectory } of Deno.readDir(exportDir)) {
      if (!isDirectory || (only !== undefined && name !== only)) continue;
      const timeSlug = await latestOf(join(exportDir, name));
      if (timeSlug !== undefined) found.push({ projectSlug: name, timeSlug });
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  if (found.length === 0) {
    const what = only === undefined ? "an export" : `an export of '${only}'`;
    throw new ExportError("not-exported", `Cannot find ${what} in '${exportDir}': run 'pixl export' first`);
  }
  return found.sort((a, b) => a.projectSlug < b.projectSlug ? -1 : 1);
}

async function latestOf(projectDir: string): Promise<string | undefined> {
  try {
    return (await Deno.readLink(join(projectDir, "latest"))).split("/").at(-1);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
