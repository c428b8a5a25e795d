import * as v from "valibot";
import type { KeptMessage, OutgoingMessage, Priority } from "./broker.ts";
import { isPriority } from "./check_outgoing.ts";
import { isTraceparent } from "./traceparent.ts";

/** One message in a file: its body as text, or in base64 where it is not UTF-8. */
const schema = v.pipe(
  v.strictObject({
    queue: v.optional(v.string()),
    message_id: v.string(),
    body: v.optional(v.string()),
    body_base64: v.optional(v.string()),
    attempt: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    priority: v.optional(v.custom<Priority>(isPriority)),
    traceparent: v.optional(v.pipe(v.string(), v.check(isTraceparent))),
    published_at: v.optional(v.string()),
  }),
  v.check(({ body, body_base64 }) => (body === undefined) !== (body_base64 === undefined)),
);

/** What a line says. */
export interface MessageLine {
  /** The queue that it was drained from; absent in files of earlier versions. */
  readonly queue?: string;
  /** To be published. */
  readonly message: OutgoingMessage;
}

/**
 * Writes a message as a line of JSON, with its line end. The body is kept byte by byte.
 *
 * @param queue Where it is drained from.
 * @param message As the broker keeps it.
 * @returns The line; the only one, since JSON writes line ends within text as escapes.
 */
export function writeLine(
  queue: string,
  { messageId, body, attempt, priority, traceparent, publishedAt }: KeptMessage,
): string {
  const text = textOf(body);
  const line = {
    queue,
    message_id: messageId,
    ...(text === undefined ? { body_base64: body.toBase64() } : { body: text }),
    attempt,
    // A member that is undefined is not written.
    priority,
    traceparent,
    published_at: publishedAt,
  };
  return `${JSON.stringify(line)}\n`;
}

/**
 * Reads a line as {@linkcode writeLine} writes it.
 *
 * @param line Without its line end.
 * @returns What it says; `undefined` if it is anything else, such as one with a field that is not known.
 */
export function readLine(line: Uint8Array): MessageLine | undefined {
  const text = textOf(line);
  if (text === undefined) return undefined;
  try {
    const result = v.safeParse(schema, JSON.parse(text));
    if (!result.success) return undefined;
    const { queue, message_id, body, body_base64, attempt, priority, traceparent } = result.output;
    const message = {
      messageId: message_id,
      body: body === undefined ? Uint8Array.fromBase64(body_base64 ?? "") : new TextEncoder().encode(body),
      attempt,
      ...(priority === undefined ? {} : { priority }),
      ...(traceparent === undefined ? {} : { traceparent }),
    };
    return { message, ...(queue === undefined ? {} : { queue }) };
  } catch {
    // JSON or base64 that is none; what they say quotes the line.
    return undefined;
  }
}

/** The text of UTF-8, with a byte order mark if there is one. */
function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
