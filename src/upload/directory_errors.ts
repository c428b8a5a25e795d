import { PixlError } from "../errors.ts";
import { UploadError, type UploadErrorCode } from "./errors.ts";

/** What the operating system says, and what it asks for. */
const CODES: ReadonlyMap<string, readonly [UploadErrorCode, string]> = new Map([
  ["ENOSPC", ["no-space", "make room there"]],
  ["EDQUOT", ["no-space", "make room there"]],
  ["EFBIG", ["no-space", "use a file system that takes files of this size"]],
  ["EROFS", ["permission-denied", "mount the file system so that it can be written"]],
  ["ETIMEDOUT", ["timeout", "try again; if it stays, see whether the share's server answers"]],
  ["ENOENT", ["interrupted", "try again; if it stays, see who moves or removes files there"]],
  ["ESTALE", ["interrupted", "try again; if it stays, mount the share anew"]],
  ["EIO", ["interrupted", "try again; if it stays, see to the disk or the share"]],
]);

/** Everything else: EACCES, EPERM, ENOTDIR, EISDIR, and Deno's own refusal. */
const DENIED = [
  "permission-denied",
  "let the user, and Deno (--allow-read, --allow-write), write in this folder, and see that no file or folder is in the way",
] as const;

/**
 * Says what a failure of the file system means.
 *
 * @param cause What was thrown.
 * @param doing What was being done, as in `write '/share/a.zip'`.
 * @returns The cause itself where it is one of this package's errors, or none of the operating system's.
 */
export function asFolderError(cause: unknown, doing: string): unknown {
  if (cause instanceof PixlError || !(cause instanceof Error)) return cause;
  const own = "code" in cause ? String(cause.code) : cause.name;
  if (!/^E[A-Z]+$/.test(own) && own !== "NotCapable") return cause;
  const [code, remedy] = CODES.get(own) ?? DENIED;
  return new UploadError(code, `Cannot ${doing} (${own}): ${remedy}`, { cause });
}
