import { join } from "node:path";
import { syncFolder } from "./disk.ts";
import { ExportError } from "./errors.ts";
import { makeLink } from "./make_link.ts";

/** The folder that holds a project's extracts, beside `latest`. */
export const ALL_EXTRACTS = "all_extracts";

/**
 * Points a project's `latest` at something else. The link is swapped by one rename: at no time is there none.
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

function ignoreMissing(error: unknown): undefined {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
