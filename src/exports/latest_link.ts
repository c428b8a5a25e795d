import { basename, join } from "node:path";
import { syncFolder } from "./disk.ts";
import { ExportError } from "./errors.ts";
import { makeLink } from "./make_link.ts";

/** The folder that holds a project's extracts, beside `latest`. */
export const ALL_EXTRACTS = "all_extracts";

/**
 * Points a project's `latest` at an extract unless it points at a newer one. The link is relative, so that it holds in a container as well as on its
 * host, and is swapped by one rename: at no time is there none.
 *
 * @param projectDir The project's folder.
 * @param timeSlug The extract's folder name.
 * @returns Whether `latest` is this extract now.
 * @throws {ExportError} `latest-not-a-link` or `link-refused`.
 */
export async function pointLatest(projectDir: string, timeSlug: string): Promise<boolean> {
  const target = `${ALL_EXTRACTS}/${timeSlug}`;
  const present = await readLatest(projectDir);
  if (present === target) return true;
  if (present !== undefined && await isNewer(projectDir, basename(present), timeSlug)) return false;
  await pointLink(projectDir, target);
  return true;
}

/**
 * Points a project's `latest` at something else, by one rename.
 *
 * @param projectDir The project's folder. @param target What the link says.
 */
export async function pointLink(projectDir: string, target: string): Promise<void> {
  const temporary = join(projectDir, ".latest.part");
  await Deno.remove(temporary).catch(ignoreMissing);
  await makeLink(target, temporary);
  await Deno.rename(temporary, join(projectDir, "latest"));
  await syncFolder(projectDir);
}

/**
 * Reads what a project's `latest` says.
 *
 * @param projectDir The project's folder.
 * @returns The link; its basename is the extract's folder name. `undefined` if there is none.
 * @throws {ExportError} `latest-not-a-link`.
 */
export async function readLatest(projectDir: string): Promise<string | undefined> {
  const link = join(projectDir, "latest");
  try {
    if ((await Deno.lstat(link)).isSymlink) return await Deno.readLink(link);
  } catch (error) {
    return ignoreMissing(error);
  }
  throw new ExportError("latest-not-a-link", `Cannot replace '${link}': it must be a symbolic link, move it away`);
}

/** A link that leads nowhere is not newer than anything. One made by the Python PIXL is absolute, maybe in a container's paths: its name counts. */
async function isNewer(projectDir: string, present: string, timeSlug: string): Promise<boolean> {
  if (compareTimeSlugs(present, timeSlug) <= 0) return false;
  try {
    return (await Deno.stat(join(projectDir, ALL_EXTRACTS, present))).isDirectory;
  } catch (error) {
    ignoreMissing(error);
    return false;
  }
}

/**
 * Compares two extracts' folder names by time, to the microsecond. Offsets do not count: their sign is lost in the name, and one project's extracts
 * come from one place.
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

function ignoreMissing(error: unknown): undefined {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
