import { join } from "node:path";
import type { Ledger } from "../database/mod.ts";
import { loadManifest } from "../exports/manifest.ts";
import { ExportError, ParquetExport } from "../exports/mod.ts";
import type { CallOptions, Destination } from "../upload/mod.ts";
import { NotPopulatedError } from "./errors.ts";
import type { FileToSend, Unsendable, UploadPlan } from "./file_to_send.ts";
import { sendFiles, type UploadTaskOptions } from "./send_files.ts";
import type { UploadResult } from "./upload_result.ts";

/** Names every file of an export; the last to be sent, so that a receiver knows that an export is whole. */
const MANIFEST = "manifest.json";
const UNTRUE =
  "it names files that are missing here: if the export was replaced meanwhile, send it again, else run 'pixl verify'";

/** An export's files, and its manifest. */
interface ExportPlan extends UploadPlan {
  readonly manifest: ManifestToSend;
}

interface ManifestToSend extends FileToSend {
  readonly expectedSha256: string;
  /** Whether all that it names was sent. */
  isReady(): boolean;
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
 * @throws {ExportError} `not-exported` if there is nothing to send. An export without a manifest that can be read is not sent: nobody could tell that it is whole.
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
  return await sendExports(ledger, destination, { files, failed, manifests: [manifest] }, options);
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
  const withdrawing = new Map(manifests.map((manifest) => [folderOf(manifest.path), withdraw(manifest)]));
  const checked = files.map((file) => ({
    ...file,
    check: async (call: CallOptions) => await withdrawing.get(folderOf(file.path))?.(call),
  }));
  const sent = await sendFiles(ledger, destination, { files: [...checked, ...manifests], failed }, options);
  const lacking = new Set(sent.failed.map(({ path }) => folderOf(path)));
  const untrue = manifests
    .filter(({ path, isReady }) => !lacking.has(folderOf(path)) && !isReady())
    .map(({ path }) => ({ path, reason: UNTRUE }));
  untrue.forEach((failure) => options.onFailure?.(failure));
  return { ...sent, failed: [...sent.failed, ...untrue] };

  /** A manifest at the destination that is about to become untrue is taken away before the first of its files comes. */
  function withdraw({ path, expectedSha256 }: ManifestToSend): (call: CallOptions) => Promise<void> {
    let isAway: Promise<void> | undefined = options.replace ? undefined : Promise.resolve();
    const takeAway = async (call: CallOptions): Promise<void> => {
      const before = await ledger.findTransfer(destination.name, path, call);
      if (before?.sha256 !== expectedSha256) await destination.remove(path, call);
    };
    return async (call) => {
      isAway ??= takeAway(call);
      try {
        await isAway;
      } catch (error) {
        isAway = undefined; // the next file may do better
        throw error;
      }
    };
  }
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
      manifests.push(plan.manifest);
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
  const toSend = (file: Pick<FileToSend, "path" | "source" | "bytes" | "sha256" | "expectedSha256">): FileToSend => ({
    ...file,
    projectSlug,
    path: `${projectSlug}/${timeSlug}/parquet/${file.path}`,
    replace,
    record: async (transfer) => {
      await ledger.recordTransfer({ ...transfer, extractId: extract.extractId });
      sent.set(file.path, transfer.sha256);
    },
  });
  const files = await parquetExport.files({ ...call, hash });
  const [first] = files;
  if (
    first === undefined || !["omop/", "radiology/"].every((part) => files.some(({ path }) => path.startsWith(part)))
  ) {
    throw new ExportError("not-exported", `Cannot send '${dir}': it is not whole, run 'pixl export' again`);
  }
  // Beside the files, which are elsewhere than usual while the export is being replaced.
  const folder = first.source.slice(0, -first.path.length);
  const manifest = await readManifestOf(folder);
  return {
    // What was damaged since is not to be there under a manifest that says otherwise.
    files: files.map(({ path, source, bytes, sha256 }) => {
      const expectedSha256 = manifest.named.get(path);
      return toSend({
        ...{ path, source, bytes },
        ...(sha256 === undefined ? {} : { sha256 }),
        ...(expectedSha256 === undefined ? {} : { expectedSha256 }),
      });
    }),
    manifest: {
      ...toSend({ path: MANIFEST, source: manifest.file, bytes: manifest.bytes }),
      expectedSha256: manifest.sha256,
      isReady: () => manifest.named.entries().every(([path, sha256]) => sent.get(path) === sha256),
    },
    failed: [],
  };
}

/** The manifest in the folder of an export, and the SHA-256 of each file that it names. */
async function readManifestOf(folder: string): Promise<
  { file: string; bytes: number; sha256: string; named: ReadonlyMap<string, string> }
> {
  const { manifest: { files }, content } = await loadManifest(folder);
  const file = join(folder, MANIFEST);
  const sha256 = new Uint8Array(await crypto.subtle.digest("SHA-256", content)).toHex();
  return { file, bytes: content.length, sha256, named: new Map(files.map((each) => [each.path, each.sha256])) };
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
