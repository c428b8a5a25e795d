/** What an error of the operating system means. */
export interface DiskProblem {
  /** Permission is missing, of the user or of Deno; the folder is missing; or anything else, such as a full disk. */
  readonly reason: "refused" | "missing" | "failed";
  /** The system's own code, such as `ENOSPC`; `denied` if Deno refused before asking it. */
  readonly code: string;
}

/**
 * Tells an error of the operating system from others.
 *
 * @param error What was caught.
 * @returns What it means; `undefined` if it is none.
 */
export function diskProblem(error: unknown): DiskProblem | undefined {
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
  if (error instanceof Deno.errors.NotCapable) return { reason: "refused", code: "denied" };
  if (["EACCES", "EPERM", "EROFS"].includes(code)) return { reason: "refused", code };
  if (["ENOENT", "ENOTDIR"].includes(code)) return { reason: "missing", code };
  return /^E[A-Z0-9]+$/.test(code) ? { reason: "failed", code } : undefined;
}

/**
 * Brings the names in a folder to the disk, so that a rename survives a power cut. Where the system cannot do it (Windows), nothing happens.
 *
 * @param dir The folder.
 */
export async function syncFolder(dir: string): Promise<void> {
  try {
    using folder = await Deno.open(dir);
    await folder.sync();
  } catch (error) {
    if (diskProblem(error)?.reason !== "refused") throw error;
  }
}
