/**
 * What a failure asks of the person who reads it; the command line turns each into an exit code.
 *
 * | kind            | meaning                                            | exit code |
 * |-----------------|----------------------------------------------------|-----------|
 * | `configuration` | a setting or an argument is missing or wrong       | 2         |
 * | `input`         | the data that came in cannot be used               | 3         |
 * | `unavailable`   | a service does not answer: trying again may help   | 4         |
 * | `refused`       | credentials, certificate or permission were refused | 5        |
 * | `partial`       | some items failed, the others are done             | 6         |
 */
export type ErrorKind = "configuration" | "input" | "unavailable" | "refused" | "partial";

/**
 * The base of every error that this package throws on purpose.
 *
 * The message names the value and the remedy, and never holds an MRN, an accession number or a password, so that it may be logged. What a
 * library or server said stays in `cause`, which may hold such values: show its `code` or `name`, not its text.
 */
export abstract class PixlError extends Error {
  /** Stable, for programs: kebab-case, never changes once released. */
  abstract readonly code: string;
  /** What can be done about it. */
  abstract readonly kind: ErrorKind;

  /**
   * Named after its class.
   *
   * @param message What could not be done, with the value and the remedy; no identifier of a person, no secret.
   * @param options The cause.
   */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}
