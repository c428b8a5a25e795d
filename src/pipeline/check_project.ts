import { join } from "node:path";
import type { Ledger } from "../database/mod.ts";
import { ExportError } from "../exports/mod.ts";
import { type Destination, isPartName, UploadError } from "../upload/mod.ts";
import { NotPopulatedError } from "./errors.ts";
import { planParquet } from "./upload_parquet.ts";
import { findZips, hasEnd, type Zip } from "./zips.ts";

/** Something that the sides do not agree on. */
export interface Disagreement {
  /**
   * Where it is: `dsh`, the destination; `ledger`, the record of what left; `local`, the folders of exports and images.
   */
  readonly side: "dsh" | "ledger" | "local";
  /** `missing`: the others have it; `extra`: they have not; `different`: they have it otherwise; `unfinished`: left by an upload that was cut off. */
  readonly problem: "missing" | "extra" | "different" | "unfinished";
  /** Path at the destination, or the folder here. */
  readonly path: string;
  /** What to do, or what was done. */
  readonly remedy: string;
  /** Whether that has been done. */
  readonly repaired: boolean;
}

/** Where things are, and whether they are mended. */
export interface CheckOptions {
  /** The folder of all exports. */
  readonly exportDir: string;
  /** Holds `<pseudonym>.zip`. */
  readonly imageDir: string;
  /** Studies that the ledger says were sent to this destination but are not there are sent, or asked for, again. @default {false} */
  readonly repair?: boolean;
  /** Stops it. */
  readonly signal?: AbortSignal;
}

/** A zip that has left and is not at the destination. */
interface MissingZip {
  readonly imageId: number;
  readonly path: string;
  /** Whether its zip is still here, and whole. */
  readonly isHere: boolean;
}

/** What {@linkcode checkProject} found. */
export interface CheckResult {
  /** Files that ledger and destination agree on. */
  readonly agreed: number;
  readonly disagreements: readonly Disagreement[];
}

/**
 * Compares what the ledger says has left with what is at the destination and what is in the folders here. Files are compared by size, and those of the
 * latest export also by hash with the ledger; the content at the destination is not read. What the destination does not list is asked for by name too: a
 * listing can be spoilt by one odd name in it.
 *
 * @param ledger Of all projects.
 * @param destination Where the project was sent.
 * @param projectSlug The project.
 * @param options Folders, and whether to mend.
 * @throws {UploadError} If the destination is out of reach or refuses us, or if it cannot look into the folders here. Nothing is set back then.
 */
export async function checkProject(
  ledger: Ledger,
  destination: Destination,
  projectSlug: string,
  options: CheckOptions,
): Promise<CheckResult> {
  const call = options.signal === undefined ? {} : { signal: options.signal };
  const found: Disagreement[] = [];
  const add = (side: Disagreement["side"], problem: Disagreement["problem"], path: string, remedy: string) =>
    found.push({ side, problem, path, remedy, repaired: false });
  const zips = await zipsHere();
  const local = await localExport();
  /** Set back last, when nothing else can fail. */
  const missing: MissingZip[] = [];
  // The ledger first: what it says has left was there before, also if an upload goes on meanwhile.
  const images = await Array.fromAsync(ledger.pseudonymised(projectSlug, call));
  const sent = new Map((await ledger.transfersTo(destination.name, projectSlug, call)).map((row) => [row.path, row]));
  const there = new Map((await destination.list(projectSlug, call)).map(({ path, bytes }) => [path, bytes]));
  const remoteOf = async (path: string): Promise<number | undefined> =>
    there.get(path) ?? (sent.has(path) ? (await destination.stat(path, call))?.bytes : undefined);
  let agreed = 0;

  const expected = new Set<string>();
  for (const { imageId, pseudo_study_uid, state } of images) {
    const path = `${projectSlug}/${pseudo_study_uid}.zip`;
    expected.add(path);
    if (state !== "done" && state !== "exported") continue; // it is being asked for again
    const [record, remote] = [sent.get(path), await remoteOf(path)];
    if (state === "done") {
      if (remote !== undefined) {
        add("ledger", "missing", path, "run 'pixl upload images': it compares the file and records it");
      } else if (await sizeOf(join(options.imageDir, `${pseudo_study_uid}.zip`)) === undefined) {
        add("local", "missing", path, "bring its zip, or ask for the study again");
      } else add("dsh", "missing", path, "it was not sent yet: run 'pixl upload images'");
    } else if (remote === undefined && record !== undefined) {
      const isHere = await hasZip(join(options.imageDir, `${pseudo_study_uid}.zip`)).catch((error) => {
        if (options.repair || !(error instanceof UploadError)) throw error;
        add("local", "different", path, error.message);
        return true;
      });
      missing.push({ imageId, path, isHere });
    } else if (remote === undefined) add("dsh", "missing", path, SENT_ELSEWHERE);
    else if (record === undefined) {
      add(
        "ledger",
        "missing",
        path,
        "no transfer to this destination is recorded: it may have been sent by another program",
      );
    } else if (record.bytes !== remote) add("dsh", "different", path, WRONG_THERE);
    else if ((await sizeOf(join(options.imageDir, `${pseudo_study_uid}.zip`)) ?? remote) !== remote) {
      add(
        "local",
        "different",
        path,
        `its zip here has changed since: see which is right; if this one, remove the other there and run 'pixl check ${projectSlug} --repair'`,
      );
    } else agreed++;
  }

  for (const { path, bytes, sha256 } of local) {
    const [record, remote] = [sent.get(path), await remoteOf(path)];
    expected.add(path);
    if (remote === undefined) add("dsh", "missing", path, "run 'pixl upload parquet'");
    else if (record === undefined) {
      add("ledger", "missing", path, "run 'pixl upload parquet': it compares the file and records it");
    } else if (record.bytes !== remote) add("dsh", "different", path, WRONG_THERE);
    else if (record.bytes !== bytes || (sha256 !== undefined && record.sha256 !== sha256)) {
      add("local", "different", path, "it was exported anew since: run 'pixl upload parquet --replace'");
    } else agreed++;
  }

  for (const [path, { bytes }] of sent) {
    if (expected.has(path)) continue;
    expected.add(path);
    // An earlier export, or tags: nothing here to compare with.
    const remote = await remoteOf(path);
    if (remote === undefined) add("dsh", "missing", path, "it was sent and has been removed there");
    else if (remote !== bytes) add("dsh", "different", path, WRONG_THERE);
    else if (local.length > 0 && isOf(local, path)) {
      add("local", "missing", path, "it is no part of the export any more");
    } else agreed++;
  }
  for (const path of there.keys()) {
    if (expected.has(path)) continue;
    if (isPartName(path.split("/").at(-1) ?? "")) {
      add(
        "dsh",
        "unfinished",
        path,
        "an upload is under way, or was cut off: the next one of that file goes on with it or removes it, else remove it there",
      );
    } else add("dsh", "extra", path, "the ledger did not send it: see who did");
  }
  const strange = await countStrange(zips ?? []);
  if (strange > 0) {
    // Their names may be anything, also a patient's.
    add(
      "local",
      "extra",
      options.imageDir,
      `it holds ${strange} ${
        strange === 1 ? "zip" : "zips"
      } named after no study of the ledger: name each after its study's pseudonym, or take it away`,
    );
  }
  if (options.repair && zips === undefined && missing.length > 0) {
    // An unmounted folder, perhaps: the hospital would be asked for what is here.
    const reason =
      `Cannot set studies back: there is no folder '${options.imageDir}' to look for their zips in; correct its path, or make it`;
    throw new UploadError("source-missing", reason);
  }
  for (const zip of missing) await addMissing(zip);
  return { agreed, disagreements: found.sort((a, b) => a.path < b.path ? -1 : Number(a.path > b.path)) };

  async function addMissing({ imageId, path, isHere }: MissingZip): Promise<void> {
    const repaired = options.repair === true && await ledger.unexport(imageId, isHere ? "done" : "queued", call);
    const next = isHere
      ? "'pixl upload images' sends it"
      : `'pixl retry ${projectSlug} --unfinished' asks for the study`;
    const remedy = repaired
      ? `set back: ${next}`
      : `'pixl check ${projectSlug} --repair' sets it back: then ${next} again`;
    found.push({ side: "dsh", problem: "missing", path, remedy, repaired });
  }

  /** `undefined` if there is no such folder, as before any image came. */
  async function zipsHere(): Promise<Zip[] | undefined> {
    return await findZips([options.imageDir]).catch((error) => {
      if (error instanceof UploadError && error.cause instanceof Deno.errors.NotFound) return undefined;
      throw error;
    });
  }

  async function countStrange(zips: readonly Zip[]): Promise<number> {
    const pseudonyms = zips.map(({ pseudonym }) => pseudonym);
    const known = new Set((await ledger.imagesOf(pseudonyms, call)).map(({ pseudo_study_uid }) => pseudo_study_uid));
    return pseudonyms.filter((each) => !known.has(each)).length;
  }

  async function localExport(): Promise<readonly { path: string; bytes: number; sha256?: string }[]> {
    try {
      const { files, manifests, failed } = await planParquet(ledger, options.exportDir, {
        ...call,
        projectSlug,
        hash: true,
      });
      for (const { path, reason } of failed) add("local", "different", path, reason);
      return [...files, ...manifests];
    } catch (error) {
      // Nothing was exported yet.
      if (error instanceof NotPopulatedError) return [];
      if (error instanceof ExportError && error.code === "not-exported") return [];
      throw error;
    }
  }
}

const SENT_ELSEWHERE = "no transfer to this destination is recorded: look where it was sent";

const WRONG_THERE = "it is not what was verified there: see who changed it, remove it there, and check again";

/** Whether a path is in the same export as these. */
function isOf(local: readonly { readonly path: string }[], path: string): boolean {
  const folder = (of: string) => of.split("/").slice(0, 3).join("/");
  return local.some((file) => folder(file.path) === folder(path));
}

/** Whether there is a zip that could be sent. @throws {UploadError} `source-missing` if that cannot be told. */
async function hasZip(source: string): Promise<boolean> {
  return await looked(source, async () => {
    const { isFile, size } = await Deno.stat(source);
    return isFile && await hasEnd({ source, bytes: size });
  }) ?? false;
}

/** Size of a file here, `undefined` if there is none. @throws {UploadError} `source-missing` if that cannot be told. */
async function sizeOf(path: string): Promise<number | undefined> {
  return await looked(path, async () => {
    const { isFile, size } = await Deno.stat(path);
    return isFile ? size : undefined;
  });
}

/** What a look at a file says, `undefined` if there is none. */
async function looked<T>(path: string, look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return undefined;
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    const message = `Cannot look at '${path}': check that this user may read it, and that the disk answers`;
    throw new UploadError("source-missing", message, { cause });
  }
}
