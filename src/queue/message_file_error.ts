import { type ErrorKind, PixlError } from "../errors.ts";

/** Why a file of messages cannot be used; see {@linkcode MessageFileError}. */
export type MessageFileErrorCode =
  | "file-exists"
  | "file-missing"
  | "file-unfinished"
  | "file-malformed"
  | "file-in-use"
  | "file-refused"
  | "file-failed"
  | "not-confirmed";

const KINDS: Readonly<Record<MessageFileErrorCode, ErrorKind>> = {
  "file-exists": "configuration",
  "file-missing": "input",
  "file-unfinished": "input",
  "file-malformed": "input",
  "file-in-use": "unavailable",
  "file-refused": "refused",
  "file-failed": "unavailable",
  "not-confirmed": "unavailable",
};

/** A file of messages cannot be written or read. Names the file and the line, never what is in it. */
export class MessageFileError extends PixlError {
  /** Why. */
  override readonly code: MessageFileErrorCode;
  /** Follows from the code. */
  override readonly kind: ErrorKind;

  /** An error of that code. @param code Why. @param message What could not be done and what to do. @param options The cause. */
  constructor(code: MessageFileErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.kind = KINDS[code];
  }
}

/**
 * Does something with a file, and says what it means if the operating system refuses.
 *
 * @param doing What is being done, as in `write '/data/pacs.jsonl'`.
 * @param remedy What to do if the disk fails or is full.
 * @throws {MessageFileError} For every error of the operating system.
 */
export async function onDisk<T>(doing: string, remedy: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const code = systemCode(cause);
    if (code === undefined) throw cause;
    if (["denied", "EACCES", "EPERM", "EROFS"].includes(code)) {
      throw new MessageFileError("file-refused", `Cannot ${doing} (${code}): allow it to this user`, { cause });
    }
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new MessageFileError("file-missing", `Cannot ${doing} (${code}): it, or its folder, must be there`, {
        cause,
      });
    }
    throw new MessageFileError("file-failed", `Cannot ${doing} (${code}): ${remedy}`, { cause });
  }
}

/** What the operating system said, such as `ENOSPC`; `denied` if Deno refused before asking it; `undefined` if it said nothing. */
function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if (error instanceof Deno.errors.NotCapable) return "denied";
  if ("code" in error && /^E[A-Z0-9]+$/.test(String(error.code))) return String(error.code);
  // Deno knows no name for some, such as EFBIG.
  return /\((os error \d+)\)$/.exec(error.message)?.[1];
}
