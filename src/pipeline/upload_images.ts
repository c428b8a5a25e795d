import { dirname, join } from "node:path";
import type { ImageToUpload, Ledger } from "../database/mod.ts";
import type { Destination } from "../upload/mod.ts";
import type { FileToSend, Unsendable, UploadPlan } from "./file_to_send.ts";
import { sendFiles, type UploadTaskOptions } from "./send_files.ts";
import type { UploadResult } from "./upload_result.ts";
import { assertSameZip, isWholeZip, notWhole, type Zip, zipAt } from "./zips.ts";

/**
 * Sends the zip of every study that was imaged and not exported yet, as `<project>/<pseudonym>.zip`. A study counts as exported once its file was
 * verified at the destination and the ledger says so.
 *
 * @param ledger Knows the studies and their pseudonyms.
 * @param imageDir Holds `<pseudonym>.zip`.
 * @param destination The Data Safe Haven.
 * @param options Signal, concurrency and progress.
 * @returns Counts, with a reason for every file that could not be sent.
 * @throws {UploadError} If the destination is out of reach or refuses us: then no other file would do better.
 */
export async function uploadImages(
  ledger: Ledger,
  imageDir: string,
  destination: Destination,
  options: UploadTaskOptions = {},
): Promise<UploadResult> {
  return await sendFiles(ledger, destination, await planImages(ledger, imageDir, options), options);
}

/** What {@linkcode uploadImages} would send: every study that is done, whose zip must be there. */
export async function planImages(
  ledger: Ledger,
  imageDir: string,
  { signal, projectSlug }: Pick<UploadTaskOptions, "signal" | "projectSlug"> = {},
): Promise<UploadPlan> {
  const files: FileToSend[] = [];
  const failed: Unsendable[] = [];
  const selection = { ...(signal && { signal }), ...(projectSlug === undefined ? {} : { projectSlug }) };
  for await (const image of ledger.imagesToUpload(selection)) {
    const zip = await zipAt(imageDir, image.pseudo_study_uid);
    const path = pathOf(image);
    if (zip === undefined) {
      const source = join(imageDir, `${image.pseudo_study_uid}.zip`);
      failed.push({ path, reason: `Cannot upload '${source}': check that it is there and may be read` });
    } else if (await isWholeZip(zip)) files.push(imageFile(ledger, image, zip));
    else failed.push({ path, reason: notWhole(zip.source) });
  }
  return { files, failed };
}

/**
 * What there is to send of these zips: those named after the pseudonym of a study that is done. Exported ones are left out, whatever they hold; the others
 * cannot be sent. Those that the ledger does not know are counted by folder, since their names may be anything.
 *
 * @param found As `findZips` gives them. A pseudonym may be there only once.
 */
export async function planZips(
  ledger: Ledger,
  found: readonly Zip[],
  { signal, projectSlug }: Pick<UploadTaskOptions, "signal" | "projectSlug"> = {},
): Promise<UploadPlan & Required<Pick<UploadPlan, "left">>> {
  const files: FileToSend[] = [];
  const failed: Unsendable[] = [];
  const left: Unsendable[] = [];
  const zips = new Map(found.toReversed().map((zip) => [zip.pseudonym, zip])); // the first of each
  const known = await ledger.imagesOf([...zips.keys()], signal && { signal });
  const names = new Set(known.map(({ pseudo_study_uid }) => pseudo_study_uid));
  const unknown = Map.groupBy(found.filter(({ pseudonym }) => !names.has(pseudonym)), ({ source }) => dirname(source));
  for (const [dir, { length }] of unknown) {
    failed.push({
      path: dir,
      reason:
        `Cannot upload ${length} ${length === 1 ? "zip" : "zips"} of this folder: the ledger knows no study of such ` +
        "a pseudonym: name each zip after its study's",
    });
  }
  for (const zip of found) {
    if (!names.has(zip.pseudonym) || zips.get(zip.pseudonym) === zip) continue;
    failed.push({ path: zip.source, reason: `Cannot upload '${zip.source}': it is in two folders` });
  }
  for (const image of known) {
    signal?.throwIfAborted(); // many ends of zips are read
    const zip = zips.get(image.pseudo_study_uid);
    if (zip === undefined || projectSlug !== undefined && image.projectSlug !== projectSlug) continue;
    const path = pathOf(image);
    if (image.state === "done" && await isWholeZip(zip)) files.push(imageFile(ledger, image, zip));
    else if (image.state === "done") failed.push({ path, reason: notWhole(zip.source) });
    else if (image.state === "exported") left.push({ path, reason: "its study is exported already" });
    else failed.push({ path, reason: `Cannot upload '${zip.source}': its study is ${image.state}, not done` });
  }
  return { files, failed, left };
}

function pathOf({ projectSlug, pseudo_study_uid }: ImageToUpload): string {
  return `${projectSlug}/${pseudo_study_uid}.zip`;
}

function imageFile(ledger: Ledger, image: ImageToUpload, zip: Zip): FileToSend {
  const { imageId, projectSlug } = image;
  return {
    projectSlug,
    source: zip.source,
    bytes: zip.bytes,
    path: pathOf(image),
    // Its turn may come hours later.
    check: () => assertSameZip(zip),
    record: (transfer) => ledger.recordImageExported({ ...transfer, imageId }),
  };
}
