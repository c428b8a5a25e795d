import { dirname, join } from "node:path";
import { UploadError } from "../upload/mod.ts";

/** A zip archive on the disk, named after the pseudonym of its study. */
export interface Zip {
  readonly pseudonym: string;
  /** Local path. */
  readonly source: string;
  readonly bytes: number;
  /** Changes when the file does. */
  readonly version: string;
}

/** Largest end of a zip archive: its last record and a comment. */
const END_BYTES = 22 + 65_535;

/** Every `<pseudonym>.zip` right in these folders; hidden files are left out. @throws {UploadError} `source-missing` if one cannot be read; {@linkcode Deno.errors.NotCapable} without the permission. */
export async function findZips(dirs: readonly string[]): Promise<Zip[]> {
  const zips: Zip[] = [];
  for (const dir of dirs) {
    const entries = await Array.fromAsync(Deno.readDir(dir)).catch((cause) => {
      if (cause instanceof Deno.errors.NotCapable) throw cause;
      throw new UploadError(
        "source-missing",
        `Cannot look into '${dir}': check that it is a folder and that this user may read it`,
        { cause },
      );
    });
    for (const { name, isFile } of entries) {
      if (!isFile || !/^[^.].*\.zip$/.test(name)) continue;
      const zip = await zipAt(dir, name.slice(0, -4));
      if (zip !== undefined) zips.push(zip); // else it has gone meanwhile
    }
  }
  return zips;
}

/** The zip of a study in that folder, `undefined` if there is none. */
export async function zipAt(dir: string, pseudonym: string): Promise<Zip | undefined> {
  const source = join(dir, `${pseudonym}.zip`);
  const file = await Deno.stat(source).catch(() => undefined);
  if (!file?.isFile) return undefined;
  return { pseudonym, source, bytes: file.size, version: `${file.size},${file.mtime?.getTime()},${file.ino}` };
}

/** @throws {UploadError} `source-changed` if a zip is not what was found before, or not whole. */
export async function assertSameZip(zip: Zip): Promise<void> {
  const now = await zipAt(dirname(zip.source), zip.pseudonym);
  if (now?.version !== zip.version) {
    const message = `Cannot upload '${zip.source}': it has changed since it was found; upload it once it is complete`;
    throw new UploadError("source-changed", message);
  }
  await assertWholeZip(zip);
}

/** Why a zip cannot be sent that {@linkcode isWholeZip} is false of. */
export function notWhole(source: string): string {
  return `Cannot upload '${source}': it has no end as zips have, wait until it is written or have it made anew`;
}

/** @throws {UploadError} `source-changed` if a zip has no end. */
export async function assertWholeZip(zip: Pick<Zip, "source" | "bytes">): Promise<void> {
  if (!await isWholeZip(zip)) throw new UploadError("source-changed", notWhole(zip.source));
}

/** As {@linkcode hasEnd}, and `false` if it has gone or cannot be read yet. */
export async function isWholeZip(zip: Pick<Zip, "source" | "bytes">): Promise<boolean> {
  return await hasEnd(zip).catch(() => false);
}

/**
 * Whether a zip archive has its end, which writers write last (APPNOTE 4.3.16, "end of central directory record").
 *
 * @param zip The file; not read but for its end.
 */
export async function hasEnd({ source, bytes }: Pick<Zip, "source" | "bytes">): Promise<boolean> {
  using file = await Deno.open(source);
  const start = Math.max(0, bytes - END_BYTES);
  await file.seek(start, Deno.SeekMode.Start);
  const end = new Uint8Array(bytes - start);
  for (let at = 0; at < end.length;) {
    const read = await file.read(end.subarray(at));
    if (read === null) return false;
    at += read;
  }
  for (let at = end.length - 22; at >= 0; at--) {
    const isRecord = end[at] === 0x50 && end[at + 1] === 0x4b && end[at + 2] === 0x05 && end[at + 3] === 0x06;
    // The comment that follows must end where the file does, or this is a part of something else.
    if (isRecord && at + 22 + (end[at + 20] ?? 0) + 256 * (end[at + 21] ?? 0) === end.length) return true;
  }
  return false;
}
