import { type ErrorKind, PixlError } from "../errors.ts";

/** Why an upload failed; see {@linkcode UploadError}. */
export type UploadErrorCode =
  | "unreachable"
  | "untrusted-certificate"
  | "authority-conflict"
  | "login-refused"
  | "permission-denied"
  | "no-space"
  | "session-reuse"
  | "interrupted"
  | "timeout"
  | "verification-failed"
  | "exists-different"
  | "not-found"
  | "invalid-name"
  | "identifying-tags"
  | "invalid-tags"
  | "source-changed"
  | "source-missing"
  | "protocol";

const MEANING: Readonly<Record<UploadErrorCode, { readonly kind: ErrorKind; readonly retryable: boolean }>> = {
  "unreachable": { kind: "unavailable", retryable: true },
  "untrusted-certificate": { kind: "refused", retryable: false },
  "authority-conflict": { kind: "configuration", retryable: false },
  "login-refused": { kind: "refused", retryable: false },
  "permission-denied": { kind: "refused", retryable: false },
  "no-space": { kind: "unavailable", retryable: false },
  "session-reuse": { kind: "unavailable", retryable: true },
  "interrupted": { kind: "unavailable", retryable: true },
  "timeout": { kind: "unavailable", retryable: true },
  "verification-failed": { kind: "unavailable", retryable: true },
  "exists-different": { kind: "input", retryable: false },
  "not-found": { kind: "input", retryable: false },
  "invalid-name": { kind: "input", retryable: false },
  "identifying-tags": { kind: "input", retryable: false },
  "invalid-tags": { kind: "input", retryable: false },
  "source-changed": { kind: "input", retryable: false },
  "source-missing": { kind: "input", retryable: false },
  "protocol": { kind: "configuration", retryable: false },
};

/** What an {@linkcode UploadError} may be given besides its text. */
export interface UploadErrorOptions extends ErrorOptions {
  /** Whether trying again may help, where it differs from what the code says. */
  readonly retryable?: boolean;
}

/**
 * A file could not be brought to its destination. Nothing wrong is there under its final name; but where a server that is at fault gives another size right
 * after the rename (`verification-failed`), what it has is left as it is.
 */
export class UploadError extends PixlError {
  /** Why. */
  override readonly code: UploadErrorCode;
  /** Follows from the code. */
  override readonly kind: ErrorKind;
  /** Whether the same call may succeed later without anybody changing anything. */
  readonly retryable: boolean;

  /** An error of that code. @param code Why. @param message What could not be done and what to do. @param options The cause. */
  constructor(code: UploadErrorCode, message: string, options: UploadErrorOptions = {}) {
    super(message, options);
    this.code = code;
    this.kind = MEANING[code].kind;
    this.retryable = options.retryable ?? MEANING[code].retryable;
  }
}
