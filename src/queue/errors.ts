import { type ErrorKind, PixlError } from "../errors.ts";

/** Why a queue operation failed; see {@linkcode QueueError}. */
export type QueueErrorCode =
  | "broker-unreachable"
  | "broker-refused"
  | "queue-mismatch"
  | "queue-missing"
  | "closed"
  | "delivery-lost";

const KINDS: Readonly<Record<QueueErrorCode, ErrorKind>> = {
  "broker-unreachable": "unavailable",
  "broker-refused": "refused",
  "queue-mismatch": "configuration",
  "queue-missing": "configuration",
  "closed": "unavailable",
  "delivery-lost": "unavailable",
};

/** A queue operation failed. */
export class QueueError extends PixlError {
  /** Why. */
  override readonly code: QueueErrorCode;
  /** Follows from the code. */
  override readonly kind: ErrorKind;

  /** An error of that code. @param code Why. @param message What could not be done and what to do. @param options The cause. */
  constructor(code: QueueErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.kind = KINDS[code];
  }
}

/** Some messages were not confirmed by the broker. They may be on the queue all the same: publishing them again may duplicate them. */
export class PublishError extends PixlError {
  /** Always the same. */
  override readonly code = "unconfirmed";
  /** The broker may be back soon. */
  override readonly kind = "unavailable";
  /** Ids of the messages that were not confirmed. */
  readonly unconfirmed: readonly string[];
  /** How many the broker accepted before. */
  readonly confirmed: number;

  /** Lists them. @param queue The queue's name. @param unconfirmed Message ids. @param confirmed How many were accepted. @param options The cause. */
  constructor(queue: string, unconfirmed: readonly string[], confirmed: number, options?: ErrorOptions) {
    super(
      `Queue '${queue}' did not confirm ${unconfirmed.length} messages (${confirmed} confirmed): publish them again`,
      options,
    );
    this.unconfirmed = unconfirmed;
    this.confirmed = confirmed;
  }
}

/** A body is not a study message. It goes to the dead-letter queue at once; trying again would not help. */
export class MalformedMessageError extends PixlError {
  /** Always the same. */
  override readonly code = "malformed-message";
  /** The body must change. */
  override readonly kind = "input";

  /** Names the field. @param problem Which field is wrong and what it should be; never its value. @param options The cause. */
  constructor(problem: string, options?: ErrorOptions) {
    super(`Cannot read the message: ${problem}`, options);
  }
}
