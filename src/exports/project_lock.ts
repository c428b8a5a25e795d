import { join } from "node:path";
import { diskProblem } from "./disk.ts";
import { ExportError } from "./errors.ts";
import { ALL_EXTRACTS } from "./latest_link.ts";
import { checkLinkable } from "./make_link.ts";

/**
 * Finds out whether exports can be made in a folder.
 *
 * @param exportDir The folder of all exports.
 * @throws {ExportError} `export-dir-refused` or `link-refused`.
 */
export async function checkExportDir(exportDir: string): Promise<void> {
  const info = await Deno.stat(exportDir).catch((cause) => {
    throw exportRefused(exportDir, cause);
  });
  if (!info.isDirectory) throw exportRefused(exportDir);
  // Better known now than after the copying.
  await checkLinkable(join(exportDir, "latest"));
}

/**
 * Makes a project's folder, and takes the lock of the operating system that one export of the project holds at a time.
 *
 * @param projectDir The project's folder.
 * @returns The lock; closing it frees it.
 * @throws {ExportError} `export-dir-refused` or `export-busy`.
 */
export async function lockProject(projectDir: string): Promise<Deno.FsFile> {
  let lock: Deno.FsFile;
  try {
    await Deno.mkdir(join(projectDir, ALL_EXTRACTS), { recursive: true, mode: 0o700 });
    lock = await Deno.open(join(projectDir, ".lock"), { read: true, write: true, create: true, mode: 0o600 });
  } catch (cause) {
    throw exportRefused(projectDir, cause);
  }
  if (await lock.tryLock(true)) return lock;
  lock.close();
  throw new ExportError(
    "export-busy",
    `Cannot export to '${projectDir}': another export of the project is running, wait for it`,
  );
}

/**
 * Says that a folder cannot be exported to.
 *
 * @param path The folder. @param cause What the system says.
 * @returns The error, `export-dir-refused`.
 */
export function exportRefused(path: string, cause?: unknown): ExportError {
  const code = diskProblem(cause)?.code;
  const reason = code === undefined ? "" : ` (${code})`;
  return new ExportError(
    "export-dir-refused",
    `Cannot export to '${path}'${reason}: it must be a folder that this user can write to`,
    {
      cause,
    },
  );
}
