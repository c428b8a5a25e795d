import type { KeptMessage } from "../broker.ts";
import { isPriority } from "../check_outgoing.ts";

/** What a row of the message table says, as {@linkcode columns} reads it. */
export interface MessageRow {
  /** The publisher's id. */
  readonly name: string;
  readonly body: Uint8Array;
  readonly attempt: number;
  /** 0 if none was given. */
  readonly priority: number;
  readonly traceparent: string | null;
  /** ISO 8601 in UTC. */
  readonly published_at: string;
}

/** Which row under which lease. */
export interface LeaseKey {
  /** The row's key. */
  readonly message_id: number;
  /** The lease that it was taken under; see `MessageTable.claim`. */
  readonly lease: string;
}

/** A row in hand. */
export interface LeasedRow extends LeaseKey, MessageRow {}

/** One text for both parts. */
export function leaseKey({ message_id, lease }: LeaseKey): string {
  return `${message_id} ${lease}`;
}

/** The message of a row. */
export function keptMessage(row: MessageRow): KeptMessage {
  const { name: messageId, body, attempt, priority, traceparent, published_at: publishedAt } = row;
  return {
    messageId,
    body,
    attempt,
    publishedAt,
    ...(isPriority(priority) ? { priority } : {}),
    ...(traceparent === null ? {} : { traceparent }),
  };
}
