/** How one file is put; see {@linkcode Destination.put}. */
export interface PutOptions {
  /** Stops the transfer: the promise rejects with the signal's reason and the connection is closed. */
  readonly signal?: AbortSignal;
  /** Called with the bytes of this file that were handed to the connection so far. Begins again at 0 where a transfer is tried again. */
  readonly onProgress?: (bytes: number) => void;
  /** Whether another file with this name is replaced. @default {false} */
  readonly replace?: boolean;
  /** SHA-256 (hex) that the caller has on record for this name: spares reading the file back where the destination has no hashes. */
  readonly knownSha256?: string;
}

/**
 * What was compared, besides the size:
 *
 * | value       | meaning                                                                    |
 * |-------------|----------------------------------------------------------------------------|
 * | `sha256`    | the destination's own SHA-256 of the file                                  |
 * | `retrieved` | the SHA-256 of the file as read back from the destination                  |
 * | `record`    | the caller's `knownSha256`                                                 |
 * | `size`      | nothing: the destination offers no hash, and TLS guards what was sent      |
 */
export type Verification = "sha256" | "retrieved" | "record" | "size";

/** Proof that a file is at its destination. */
export interface Receipt {
  /** Absolute path at the destination. */
  readonly path: string;
  /** Size in bytes, equal on both sides. */
  readonly bytes: number;
  /** SHA-256 of what was read from the source, hex in lower case. */
  readonly sha256: string;
  /** How the copy was compared with the source. */
  readonly verifiedBy: Verification;
  /** Whether the destination had the file already, so that nothing was sent. */
  readonly skipped: boolean;
}

/** A place that files are sent to. Closing it closes the connection; a `put()` that is on its way then fails. */
export interface Destination extends AsyncDisposable {
  /** For people and logs: `host:port`. */
  readonly name: string;
  /**
   * Brings a file to its destination. It appears there under its name only when it is whole and verified. Calls wait for one another.
   *
   * @param source Path of a local file, which must not change meanwhile.
   * @param remotePath Names separated by `/`, below the destination's base folder; missing folders are made.
   * @param options Abort, progress, replacement.
   * @returns The receipt, also if the same file is there already.
   * @throws {UploadError} Saying why and what to do; the file is then not there under its name, or as it was before.
   * @throws The signal's reason if aborted.
   */
  put(source: string, remotePath: string, options?: PutOptions): Promise<Receipt>;
}
