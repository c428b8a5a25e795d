import { join } from "node:path";
import type { Ledger } from "../database/mod.ts";
import { ExportError, ParquetExport } from "../exports/mod.ts";
import type { Destination } from "../upload/mod.ts";
import { NotPopulatedError } from "./errors.ts";
import { sendFile } from "./send_file.ts";
import { abortOf, isOfOneFile, type UploadTaskOptions } from "./upload_images.ts";
import { type UploadResult, UploadTally } from "./upload_result.ts";

/**
 * Sends the parquet files of each project's latest export, as `<project>/<time>/parquet/<path below the export>`. What is there and equal is not sent
 * again.
 *
 * @param ledger Records what left.
 * @param exportDir The folder of all exports.
 * @param destination The Data Safe Haven.
 * @param options Signal, selection and progress; `replace` whether files that differ from those at the destination replace them.
 * @returns Counts, with a reason for every file that could not be sent.
 * @throws {ExportError} `not-exported` if there is nothing to send.
 * @throws {UploadError} If the destination is out of reach or refuses us: then no other file would do better.
 */
export async function uploadParquet(
  ledger: Ledger,
  exportDir: string,
  destination: Destination,
  options: UploadTaskOptions & { readonly replace?: boolean } = {},
): Promise<UploadResult> {
  const abort = abortOf(options);
  const tally = new UploadTally();
  for (const { projectSlug, timeSlug } of await latestExports(exportDir, options.projectSlug)) {
    try {
      await uploadExport(projectSlug, timeSlug);
    } catch (error) {
      // One project's export does not hold up the others.
      if (!(error instanceof NotPopulatedError || error instanceof ExportError)) throw error;
      tally.fail(`${projectSlug}/${timeSlug}/parquet`, error);
    }
  }
  return tally.result;

  async function uploadExport(projectSlug: string, timeSlug: string): Promise<void> {
    const extract = await ledger.findExtract(projectSlug, timeSlug, abort);
    if (extract === undefined) throw new NotPopulatedError(join(exportDir, projectSlug, "all_extracts", timeSlug));
    const parquetExport = new ParquetExport(extract.projectName, extract.extractTime, exportDir);
    const files = await parquetExport.files(abort);
    if (!["omop/", "radiology/"].every((part) => files.some(({ path }) => path.startsWith(part)))) {
      throw new ExportError(
        "not-exported",
        `Cannot send '${parquetExport.dir}': it is not whole, run 'pixl export' again`,
      );
    }
    for (const file of files) {
      await uploadFile(
        extract.extractId,
        file.source,
        `${projectSlug}/${timeSlug}/parquet/${file.path}`,
      );
      options.onFile?.();
    }
  }

  async function uploadFile(extractId: number, source: string, path: string): Promise<void> {
    try {
      const { receipt, transfer } = await sendFile(ledger, destination, source, path, {
        ...abort,
        replace: options.replace === true,
      });
      await ledger.recordTransfer({ ...transfer, extractId });
      tally.add(receipt);
    } catch (error) {
      if (!isOfOneFile(error)) throw error;
      tally.fail(path, error);
    }
  }
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
    if (!(error instanceof Deno.errors.NotFound)) {
      throw new ExportError(
        "export-dir-refused",
        `Cannot list '${exportDir}': it must be a folder that this user, and Deno, can read`,
        {
          cause: error,
        },
      );
    }
  }
  if (found.length === 0) {
    const what = only === undefined ? "an export" : `an export of '${only}'`;
    throw new ExportError("not-exported", `Cannot find ${what} in '${exportDir}': run 'pixl export' first`);
  }
  return found.sort((a, b) => a.projectSlug < b.projectSlug ? -1 : 1);
}

async function latestOf(projectDir: string): Promise<string | undefined> {
  const link = join(projectDir, "latest");
  try {
    if ((await Deno.lstat(link)).isSymlink) return (await Deno.readLink(link)).split("/").at(-1);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  throw new ExportError("latest-not-a-link", `Cannot send '${link}': it must be a symbolic link, move it away`);
}
