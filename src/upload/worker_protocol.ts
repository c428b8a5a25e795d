import type { PartRecord, PutOptions, Receipt, RemoteFile } from "./destination.ts";
import type { UploadErrorCode } from "./errors.ts";
import type { FtpsOptions } from "./ftps_options.ts";

/** What a worker is asked for; `id` is the call's. */
export type ToWorker =
  | {
    readonly id: number;
    readonly call: "open";
    readonly options: Omit<FtpsOptions, "pace">;
    readonly pace: SharedArrayBuffer | undefined;
  }
  | {
    readonly id: number;
    readonly call: "put";
    readonly source: string;
    readonly path: string;
    readonly options: Pick<PutOptions, "replace" | "expectedSha256" | "knownSha256" | "part" | "partName">;
  }
  | { readonly id: number; readonly call: "stat" | "list" | "remove"; readonly path: string }
  | { readonly id: number; readonly call: "rename"; readonly path: string; readonly to: string }
  | { readonly id: number; readonly call: "close" }
  | { readonly abort: number };

/** What a call gives. */
export type Result = Receipt | RemoteFile | readonly RemoteFile[] | undefined | void;

/** An error without its class, which messages lose. */
export interface PlainError {
  readonly name: string;
  readonly message: string;
  /** Of an `UploadError`. */
  readonly code?: UploadErrorCode;
  /** Of an `UploadError`. */
  readonly retryable?: boolean;
  readonly cause?: { readonly name: string; readonly message: string; readonly code?: string | number };
}

/** What a worker says: how a call goes on, or how it ended. */
export type FromWorker =
  | { readonly id: number; readonly value: Result }
  | { readonly id: number; readonly progress: number }
  | { readonly id: number; readonly part: PartRecord }
  | { readonly id: number; readonly error: PlainError };
