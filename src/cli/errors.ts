import { type ErrorKind, PixlError } from "../errors.ts";

/** Settings or arguments are missing or wrong; all of them are listed at once. */
export class ConfigError extends PixlError {
  override readonly code = "configuration";
  override readonly kind = "configuration";

  /** @param problems One line each, naming the setting and the remedy; never its value where it is a secret. */
  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(
      problems.length === 1
        ? problems.join()
        : `${problems.length} settings are wrong:\n  - ${problems.join("\n  - ")}`,
      options,
    );
  }
}

/** No study has that accession number or pseudonym. Which is not said: it may identify a person. */
export class StudyUnknownError extends PixlError {
  override readonly code = "study-unknown";
  override readonly kind = "input";

  constructor() {
    super("Cannot find that study in the ledger: give its accession number or its pseudonym as they stand there");
  }
}

/** A handler does not answer. */
export class HandlerError extends PixlError {
  override readonly code = "handler-unreachable";
  override readonly kind = "unavailable";

  /** @param address Host and port: the rest of a URL may be secret. @param options The cause. */
  constructor(address: string, options?: ErrorOptions) {
    super(
      `Cannot reach the handler at ${address}: see that the service runs and that its certificate is right`,
      options,
    );
  }
}

/** Some items failed, the others are done. */
export class PartialError extends PixlError {
  override readonly code = "partial";
  override readonly kind = "partial";
}

/** Exit codes of `pixl`, by cause. 1 is a fault of the program itself. */
export const EXIT_CODES: Readonly<Record<ErrorKind, number>> = {
  configuration: 2,
  input: 3,
  unavailable: 4,
  refused: 5,
  partial: 6,
};

/** Exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT. */
export const EXIT_INTERRUPTED = 130;

/** Exit code when nobody reads what is written any more: the work may not be done. 128 and the number of SIGPIPE, which ends other programs then. */
export const EXIT_NO_READER = 141;
