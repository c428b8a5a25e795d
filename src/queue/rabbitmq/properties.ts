import type { MessageProperties, MessagePropertyHeaders, Options } from "amqplib";
import type { Death, KeptMessage, OutgoingMessage } from "../broker.ts";
import { checkOutgoing, isPriority } from "../check_outgoing.ts";
import { isTraceparent } from "../traceparent.ts";

/** The attempt that a message is, from 1. Absent from messages that were never retried. */
const ATTEMPT = "x-pixl-attempt";
/** How often a message of a classic queue came back because its consumer vanished; quorum queues count for themselves. */
const RETURNS = "x-pixl-returns";
/** Why a dead letter is one. */
const REASON = "x-pixl-reason";
/** The class of its last error. */
const ERROR_CLASS = "x-pixl-error-class";
/** When it became one, ISO 8601 in UTC. */
const DEAD_AT = "x-pixl-dead-at";
/** W3C Trace Context's own name. */
const TRACEPARENT = "traceparent";

/** AMQP has all headers in one frame. */
const MAX_TEXT_LENGTH = 1_000;

/** What a copy says differently. */
export interface Change {
  /** The attempt that it will be. */
  readonly attempt?: number;
  /** How often it came back. */
  readonly returns?: number;
  /** Why it is a dead letter. */
  readonly death?: Death;
}

/**
 * @param message What is published.
 * @returns Its AMQP properties beside id and content type.
 * @throws {RangeError} If its priority, trace or attempt is none.
 */
export function propertiesOf(message: OutgoingMessage): Options.Publish {
  checkOutgoing(message);
  const { priority, traceparent, attempt } = message;
  const headers = {
    ...(traceparent === undefined ? {} : { [TRACEPARENT]: traceparent }),
    ...(attempt === undefined || attempt === 1 ? {} : { [ATTEMPT]: attempt }),
  };
  return {
    timestamp: Math.floor(Date.now() / 1_000),
    ...(priority === undefined ? {} : { priority }),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
  };
}

/** What of a message's properties is ours to read. */
export function readProperties(properties: MessageProperties): Omit<KeptMessage, "body" | "publishedAt"> {
  const { messageId, headers = {} } = properties;
  const priority: unknown = properties.priority;
  const traceparent: unknown = headers[TRACEPARENT];
  return {
    messageId: typeof messageId === "string" ? messageId : "",
    attempt: count(headers[ATTEMPT]) ?? 1,
    ...(isPriority(priority) ? { priority } : {}),
    ...(typeof traceparent === "string" && isTraceparent(traceparent) ? { traceparent } : {}),
  };
}

/** When a message was published, ISO 8601 in UTC; `undefined` if its publisher did not say. */
export function publishedAtOf({ timestamp }: MessageProperties): string | undefined {
  return isSeconds(timestamp) ? new Date(timestamp * 1_000).toISOString() : undefined;
}

/** Whether the classic queue's message came back, and how often before. */
export function returnsOf({ headers = {} }: MessageProperties): number {
  return count(headers[RETURNS]) ?? 0;
}

/** How often a quorum queue gave it out and got it back. */
export function deliveriesOf({ headers = {} }: MessageProperties): number {
  return count(headers["x-delivery-count"]) ?? 0;
}

/** Why a message is in the dead-letter queue: we said so, or RabbitMQ itself gave it up. */
export function deathOf({ headers = {} }: MessageProperties): Death {
  const [reason, errorClass, at] = [headers[REASON], headers[ERROR_CLASS], headers[DEAD_AT]];
  if (typeof reason === "string") {
    return {
      reason,
      ...(typeof errorClass === "string" ? { errorClass } : {}),
      at: typeof at === "string" ? at : "",
    };
  }
  const [last] = headers["x-death"] ?? [];
  return {
    reason: `RabbitMQ gave it up (${last?.reason ?? "reason unknown"})`,
    at: isSeconds(last?.time?.value) ? new Date(last.time.value * 1_000).toISOString() : "",
  };
}

/**
 * @param properties Of the original.
 * @param change What is different.
 * @returns The sender's properties, without what was written on the way.
 */
export function copied(properties: MessageProperties, { attempt, returns, death }: Change): Options.Publish {
  const { contentType, contentEncoding, correlationId, replyTo, timestamp, type, appId, priority, headers = {} } =
    properties;
  const given = { contentType, contentEncoding, correlationId, replyTo, timestamp, type, appId, priority };
  return {
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    headers: {
      ...withoutHistory(headers),
      ...(attempt === undefined ? {} : { [ATTEMPT]: attempt }),
      ...(returns === undefined || returns === 0 ? {} : { [RETURNS]: returns }),
      ...(death === undefined ? {} : {
        [REASON]: death.reason.slice(0, MAX_TEXT_LENGTH),
        ...(death.errorClass === undefined ? {} : { [ERROR_CLASS]: death.errorClass.slice(0, MAX_TEXT_LENGTH) }),
        [DEAD_AT]: death.at,
      }),
    },
  };
}

function withoutHistory(headers: MessagePropertyHeaders): Record<string, unknown> {
  const ours: readonly string[] = [RETURNS, REASON, ERROR_CLASS, DEAD_AT];
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) =>
      !ours.includes(name) && !/^x-(death|first-death-|last-death-|delivery-count$|acquired-count$|opt-)/.test(name)
    ),
  );
}

/** Seconds since 1970 that a `Date` can hold. */
function isSeconds(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 8.64e12;
}

function count(value: unknown): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value > 0 ? value : undefined;
}
