import { dirname, join } from "node:path";
import type { Ledger } from "../database/mod.ts";
import { ExportError, type Manifest, ParquetExport, readManifest } from "../exports/mod.ts";
import type { Destination } from "../upload/mod.ts";
import { NotPopulatedError } from "./errors.ts";
import type { FileToSend, Unsendable, UploadPlan } from "./file_to_send.ts";
import { sendFiles, type UploadTaskOptions } from "./send_files.ts";
import { type UploadResult, UploadTally } from "./upload_result.ts";

/** Names every file of an export; the last to be sent, so that a receiver knows that an export is whole. */
const MANIFEST = "manifest.json";
const UNTRUE = "it does not name what was sent: if the export was replaced meanwhile, send it again";

/** An export's files, and its manifest if it has one. */
export interface ExportPlan extends UploadPlan {
  readonly manifest: ManifestToSend | undefined;
}

interface ManifestToSend extends FileToSend {
  /** SHA-256 in hex of what was sent, by path below the export. */
  readonly sent: ReadonlyMap<string, string>;
}

/**
 * Sends each project's latest export, as `<project>/<time>/parquet/<path below the export>`, and then its `manifest.json`. What is there and equal is not
 * sent again.
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
  return await sendExports(ledger, destination, await planParquet(ledger, exportDir, options), options);
}

/** As {@linkcode uploadParquet}, for one export. */
export async function uploadOneExport(
  ledger: Ledger,
  parquetExport: ParquetExport,
  destination: Destination,
  options: Omit<UploadTaskOptions, "projectSlug"> & { readonly replace?: boolean } = {},
): Promise<UploadResult> {
  const { files, manifest, failed } = await planExport(ledger, parquetExport, options);
  return await sendExports(ledger, destination, { files, failed, manifests: manifest ? [manifest] : [] }, options);
}

/** Files of exports, and the manifests that vouch for them. */
interface ExportsPlan extends UploadPlan {
  readonly manifests: readonly ManifestToSend[];
}

async function sendExports(
  ledger: Ledger,
  destination: Destination,
  { files, failed, manifests }: ExportsPlan,
  options: UploadTaskOptions & { readonly replace?: boolean },
): Promise<UploadResult> {
  await withdrawManifests(ledger, destination, manifests, options);
  const sent = await sendFiles(ledger, destination, { files, failed }, options);
  const lacking = new Set(sent.failed.map(({ path }) => folderOf(path)));
  const complete: ManifestToSend[] = [];
  const untrue: Unsendable[] = [];
  for (const manifest of manifests.filter(({ path }) => !lacking.has(folderOf(path)))) {
    if (await isTrue(manifest)) complete.push(manifest);
    else untrue.push({ path: manifest.path, reason: UNTRUE });
  }
  const last = await sendFiles(ledger, destination, { files: complete, failed: untrue }, options);
  return UploadTally.sum(sent, last);
}

interface PlanOptions {
  /** Files that differ from those at the destination replace them. @default {false} */
  readonly replace?: boolean;
  /** Reads the files for their hashes, which sending does not need: it hashes what it sends. @default {false} */
  readonly hash?: boolean;
}

/** What {@linkcode uploadParquet} would send. */
export async function planParquet(
  ledger: Ledger,
  exportDir: string,
  options: Pick<UploadTaskOptions, "signal" | "projectSlug"> & PlanOptions,
): Promise<ExportsPlan> {
  const files: FileToSend[] = [];
  const manifests: ManifestToSend[] = [];
  const failed: Unsendable[] = [];
  for (const projectSlug of await projectsIn(exportDir, options.projectSlug)) {
    try {
      const timeSlug = await latestOf(join(exportDir, projectSlug));
      if (timeSlug === undefined) continue;
      const extract = await ledger.findExtract(projectSlug, timeSlug, options.signal && { signal: options.signal });
      if (extract === undefined) throw new NotPopulatedError(join(exportDir, projectSlug, "all_extracts", timeSlug));
      const parquetExport = new ParquetExport(extract.projectName, extract.extractTime, exportDir);
      const plan = await planExport(ledger, parquetExport, options);
      files.push(...plan.files);
      if (plan.manifest) manifests.push(plan.manifest);
    } catch (error) {
      // One project's export does not hold up the others.
      if (!(error instanceof NotPopulatedError || error instanceof ExportError)) throw error;
      failed.push({ path: projectSlug, reason: error.message });
    }
  }
  if (files.length === 0 && failed.length === 0) {
    const what = options.projectSlug === undefined ? "an export" : `an export of '${options.projectSlug}'`;
    throw new ExportError("not-exported", `Cannot find ${what} in '${exportDir}': run 'pixl export' first`);
  }
  return { files, manifests, failed };
}

async function planExport(
  ledger: Ledger,
  parquetExport: ParquetExport,
  { signal, replace = false, hash = false }: PlanOptions & { readonly signal?: AbortSignal },
): Promise<ExportPlan> {
  const call = signal === undefined ? {} : { signal };
  const { projectSlug, timeSlug, dir } = parquetExport;
  const extract = await ledger.findExtract(projectSlug, timeSlug, call);
  if (extract === undefined) throw new NotPopulatedError(dir);
  const sent = new Map<string, string>();
  const toSend = (path: string, source: string, bytes: number, sha256?: string, expected?: string): FileToSend => ({
    projectSlug,
    source,
    bytes,
    ...(sha256 === undefined ? {} : { sha256 }),
    ...(expected === undefined ? {} : { expectedSha256: expected }),
    path: `${projectSlug}/${timeSlug}/parquet/${path}`,
    replace,
    record: async (transfer) => {
      sent.set(path, transfer.sha256);
      await ledger.recordTransfer({ ...transfer, extractId: extract.extractId });
    },
  });
  const files = await parquetExport.files({ ...call, hash });
  if (!["omop/", "radiology/"].every((part) => files.some(({ path }) => path.startsWith(part)))) {
    throw new ExportError("not-exported", `Cannot send '${dir}': it is not whole, run 'pixl export' again`);
  }
  // Beside the files, which are elsewhere than usual while the export is being replaced.
  const [first] = files;
  const beside = join(first === undefined ? dir : first.source.slice(0, -first.path.length), MANIFEST);
  const manifest = await Deno.stat(beside).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
  // What was damaged since is not to be there under a manifest that says otherwise.
  const named = new Map((await manifestIn(dirname(beside)))?.files.map(({ path, sha256 }) => [path, sha256]));
  return {
    files: files.map(({ path, source, bytes, sha256 }) => toSend(path, source, bytes, sha256, named.get(path))),
    manifest: manifest && { ...toSend(MANIFEST, beside, manifest.size), sent },
    failed: [],
  };
}

/** The manifest in a folder, `undefined` if there is none that can be read. */
async function manifestIn(dir: string): Promise<Manifest | undefined> {
  return await readManifest(dir).catch((error) => {
    if (error instanceof ExportError) return undefined;
    throw error;
  });
}

/** Whether all that it names was sent, with that content: an export may be replaced meanwhile. */
async function isTrue({ source, sent }: ManifestToSend): Promise<boolean> {
  const manifest = await manifestIn(dirname(source));
  return manifest?.files.every(({ path, sha256 }) => sent.get(path) === sha256) === true;
}

/** A manifest at the destination that is about to become untrue is taken away first. */
async function withdrawManifests(
  ledger: Ledger,
  destination: Destination,
  manifests: readonly FileToSend[],
  { signal, replace }: { readonly signal?: AbortSignal; readonly replace?: boolean },
): Promise<void> {
  if (!replace) return;
  const call = signal === undefined ? {} : { signal };
  for (const { path, source } of manifests) {
    const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(source));
    const before = await ledger.findTransfer(destination.name, path, call);
    if (before?.sha256 !== new Uint8Array(digest).toHex()) await destination.remove(path, call);
  }
}

/** `<project>/<time>/parquet` of any path below it. */
function folderOf(path: string): string {
  return path.split("/").slice(0, 3).join("/");
}

/** Names of the folders of projects; none if there are no exports yet. */
async function projectsIn(exportDir: string, only: string | undefined): Promise<string[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(exportDir));
    return entries.filter(({ name, isDirectory }) => isDirectory && (only === undefined || name === only))
      .map(({ name }) => name).sort();
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return [];
    const message = `Cannot list '${exportDir}': it must be a folder that this user, and Deno, can read`;
    throw new ExportError("export-dir-refused", message, { cause });
  }
}

/** The time of the extract that `latest` points at, `undefined` if there is none yet. */
async function latestOf(projectDir: string): Promise<string | undefined> {
  const link = join(projectDir, "latest");
  try {
    if ((await Deno.lstat(link)).isSymlink) return (await Deno.readLink(link)).split("/").at(-1);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    const message = `Cannot read '${link}': this user, and Deno, must be able to`;
    throw new ExportError("export-dir-refused", message, { cause: error });
  }
  throw new ExportError("latest-not-a-link", `Cannot send '${link}': it must be a symbolic link, move it away`);
}
