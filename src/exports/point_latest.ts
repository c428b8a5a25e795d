import { basename, join } from "node:path";
import { compareTimestamps } from "../timestamp.ts";
import { diskProblem } from "./disk.ts";
import { ExportError } from "./errors.ts";
import { ALL_EXTRACTS, pointLink, readLatest } from "./latest_link.ts";
import { readManifest } from "./manifest.ts";
import { timeSlug } from "./slug.ts";

/**
 * Points a project's `latest` at an extract unless it points at a newer one. The link is relative, so that it holds in a container as well as on its
 * host.
 *
 * @param projectDir The project's folder.
 * @param extractTime The extract's time, normalised.
 * @returns Whether `latest` is this extract now.
 * @throws {ExportError} `latest-not-a-link` or `link-refused`.
 */
export async function pointLatest(projectDir: string, extractTime: string): Promise<boolean> {
  const target = `${ALL_EXTRACTS}/${timeSlug(extractTime)}`;
  const present = await readLatest(projectDir);
  if (present === target) return true;
  if (present !== undefined && await isNewer(projectDir, basename(present), extractTime)) return false;
  await pointLink(projectDir, target);
  return true;
}

/** A link that leads nowhere is not newer than anything. One made by the Python PIXL is absolute, maybe in a container's paths: its name counts. */
async function isNewer(projectDir: string, present: string, extractTime: string): Promise<boolean> {
  const dir = join(projectDir, ALL_EXTRACTS, present);
  if (!await isFolder(dir)) return false;
  const time = await timeOf(dir);
  const order = time === undefined
    ? compareTimeSlugs(present, timeSlug(extractTime))
    : compareTimestamps(time, extractTime);
  return order > 0;
}

/** What its manifest says; `undefined` if it has none that can be used. */
async function timeOf(dir: string): Promise<string | undefined> {
  try {
    return (await readManifest(dir)).time;
  } catch (error) {
    if (error instanceof ExportError || diskProblem(error) !== undefined) return undefined;
    throw error;
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isDirectory;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return false;
  }
}

/**
 * Compares two extracts' folder names by the time on the clock, to the microsecond. Offsets do not count, since their sign is lost in the name: in the
 * hour that comes twice when clocks go back, only the manifest tells which extract is the later.
 *
 * @param a A time slug. @param b Another.
 * @returns Negative if `a` is earlier, 0 if they are equal, positive if it is later.
 */
export function compareTimeSlugs(a: string, b: string): number {
  const key = (slug: string) => {
    const [, time = "", micros = "000000"] = /^(.{19})(?:-(\d{6}))?/.exec(slug) ?? [];
    return `${time}.${micros}`;
  };
  const [left, right] = [key(a), key(b)];
  return left < right ? -1 : Number(left > right);
}
