/**
 * What is known of a transfer that was begun: enough to go on with it, in this process or a later one, and not to go on with something else. Plain
 * data, to be kept as JSON.
 */
export interface PartRecord {
  /** Name of the unfinished file, beside where the file is to be. */
  readonly name: string;
  /** Size and time of last change of the source when it was begun. */
  readonly source: string;
  /** Bytes from the start that were handed over. */
  readonly bytes: number;
  /** SHA-256 (hex) of these. */
  readonly sha256: string;
}

/** How one file is put; see {@linkcode Destination.put}. */
export interface PutOptions {
  /** Stops the transfer: the promise rejects with the signal's reason and the connection is closed. */
  readonly signal?: AbortSignal;
  /** Called with the bytes of this file that were handed to the connection so far. Begins again at 0 where a transfer is tried again. */
  readonly onProgress?: (bytes: number) => void;
  /** Whether another file with this name is replaced, one included that comes while this one is on its way. @default {false} */
  readonly replace?: boolean;
  /** SHA-256 (hex) that the source must have: if it has another, nothing of it appears at the destination. */
  readonly expectedSha256?: string;
  /** SHA-256 (hex) that the caller has on record for this name: spares reading the file back where a server has no hashes. */
  readonly knownSha256?: string;
  /**
   * What {@linkcode onPart} told of an earlier attempt. Its bytes are not sent again if the source still has that size and time and begins with bytes
   * of that hash, and the unfinished file at the destination is at least as long. The whole is then compared by hash, read back if need be.
   */
  readonly part?: PartRecord;
  /** Name of the unfinished file, as {@linkcode partNameOf} makes them, for who must know it after a crash. @default A new one. */
  readonly partName?: string;
  /** Called as a transfer goes on, every 16 MiB: whoever keeps the last record can resume after a crash. */
  readonly onPart?: (part: PartRecord) => void;
}

/** A file or folder at a destination. */
export interface RemoteFile {
  /** Below the destination's base folder; names separated by `/`. */
  readonly path: string;
  /** Size in bytes. */
  readonly bytes: number;
}

/**
 * What was compared, besides the size:
 *
 * | value       | meaning                                                                    |
 * |-------------|----------------------------------------------------------------------------|
 * | `sha256`    | the destination's own SHA-256 of the file                                  |
 * | `md5`       | the destination's own MD5 of what was sent just now, where it has no SHA-256 |
 * | `crc32`     | the same with CRC-32, where it has no MD5 either                            |
 * | `retrieved` | the SHA-256 of the file as read back from the destination                  |
 * | `record`    | the caller's `knownSha256`                                                 |
 * | `size`      | nothing: the destination offers no hash, and TLS guards what was sent      |
 */
export type Verification = "sha256" | "md5" | "crc32" | "retrieved" | "record" | "size";

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
  /** Bytes that an earlier attempt had brought there. */
  readonly resumed: number;
}

/** How a call to a destination is stopped. */
export interface CallOptions {
  /** Stops it: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * A place that files are sent to. Paths are names separated by `/`, below the destination's base folder. Closing it closes the connection; what is on
 * its way then fails. Everything rejects with an {@linkcode UploadError} that says why and what to do, or with the signal's reason.
 */
export interface Destination extends AsyncDisposable {
  /** For people, logs and the ledger: `host:port/base`, or a folder. */
  readonly name: string;
  /**
   * Brings a file to its destination. It appears there under its name only when it is whole and verified.
   *
   * @param source Path of a local file, which must not change meanwhile.
   * @param path Where to; missing folders are made.
   * @param options Abort, progress, replacement, resumption.
   * @returns The receipt, also if the same file is there already.
   * @throws {UploadError} Saying why and what to do; the file is then not there under its name, or as it was before.
   */
  put(source: string, path: string, options?: PutOptions): Promise<Receipt>;
  /** Size of a file, `undefined` if there is no file of that name. */
  stat(path: string, options?: CallOptions): Promise<RemoteFile | undefined>;
  /** Every file below a folder, in the folders below it too; unfinished ones are among them. Nothing if there is no such folder. */
  list(folder: string, options?: CallOptions): Promise<readonly RemoteFile[]>;
  /** Renames a file. @throws {UploadError} `exists-different` if the new name is taken, `not-found` if there is no such file. */
  rename(from: string, to: string, options?: CallOptions): Promise<void>;
  /** Removes a file, if it is there. */
  remove(path: string, options?: CallOptions): Promise<void>;
}
