import { type ErrorKind, PixlError } from "../errors.ts";

/** A name leaves no usable folder name. Not worth a retry: the extract's `cdm_source_name` must change. */
export class InvalidSlugError extends PixlError {
  /** Always the same. */
  override readonly code = "invalid-slug";
  /** Always the same. */
  override readonly kind = "input";

  /** For that text. @param text What no folder name can be made of. @param options The cause. */
  constructor(text: string, options?: ErrorOptions) {
    super(`Cannot make a folder name from '${text}': use at least one letter or digit`, options);
  }
}

/** Why an OMOP extract cannot be used; see {@linkcode ExtractError}. */
export type ExtractErrorCode =
  | "extract-missing"
  | "summary-missing"
  | "summary-invalid"
  | "table-missing"
  | "column-missing"
  | "wrong-type"
  | "unreadable-parquet"
  | "csv-invalid"
  | "no-studies"
  | "access-refused";

const EXTRACT_KINDS: Readonly<Record<ExtractErrorCode, ErrorKind>> = {
  "extract-missing": "input",
  "summary-missing": "input",
  "summary-invalid": "input",
  "table-missing": "input",
  "column-missing": "input",
  "wrong-type": "input",
  "unreadable-parquet": "input",
  "csv-invalid": "input",
  "no-studies": "input",
  "access-refused": "refused",
};

/** An OMOP extract cannot be used. Names the file and the column, never a value. */
export class ExtractError extends PixlError {
  /** Why. */
  override readonly code: ExtractErrorCode;
  /** Follows from the code. */
  override readonly kind: ErrorKind;

  /** An error of that code. @param code Why. @param message Which file or column and what to do. @param options The cause. */
  constructor(code: ExtractErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.kind = EXTRACT_KINDS[code];
  }
}

/** Why a parquet file was not written; see {@linkcode TableError}. */
export type TableErrorCode =
  | "bad-schema"
  | "bad-value"
  | "write-failed"
  | "write-refused";

const TABLE_KINDS: Readonly<Record<TableErrorCode, ErrorKind>> = {
  "bad-schema": "input",
  "bad-value": "input",
  "write-failed": "unavailable",
  "write-refused": "refused",
};

/** A parquet file was not written; nothing is left of it. Names the row and the column, never the value. */
export class TableError extends PixlError {
  /** Why. */
  override readonly code: TableErrorCode;
  /** Follows from the code. */
  override readonly kind: ErrorKind;

  /** An error of that code. @param code Why. @param message What could not be written and what to do. @param options The cause. */
  constructor(code: TableErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.kind = TABLE_KINDS[code];
  }
}

/** Why an export failed; see {@linkcode ExportError}. */
export type ExportErrorCode =
  | "export-dir-refused"
  | "link-refused"
  | "export-busy"
  | "exists-different"
  | "latest-not-a-link"
  | "not-exported"
  | "manifest-invalid"
  | "source-changed"
  | "special-file"
  | "write-failed";

const EXPORT_KINDS: Readonly<Record<ExportErrorCode, ErrorKind>> = {
  "export-dir-refused": "refused",
  "link-refused": "refused",
  "export-busy": "unavailable",
  "exists-different": "input",
  "latest-not-a-link": "input",
  "not-exported": "input",
  "manifest-invalid": "input",
  "source-changed": "unavailable",
  "special-file": "input",
  "write-failed": "unavailable",
};

/** An export failed; what was exported before is untouched. */
export class ExportError extends PixlError {
  /** Why. */
  override readonly code: ExportErrorCode;
  /** Follows from the code. */
  override readonly kind: ErrorKind;

  /** An error of that code. @param code Why. @param message Which path and what to do. @param options The cause. */
  constructor(code: ExportErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.kind = EXPORT_KINDS[code];
  }
}
