import type { HandlerContext, Outcome, StudyMessage } from "../queue/mod.ts";
import { httpRequest, type Reply } from "./http_request.ts";

/** What a service made of a study: its reply, or what should become of the message instead. */
export type Answer = { readonly kind: "done"; readonly reply: unknown } | Exclude<Outcome, { kind: "done" }>;

/** A service that is asked for one study: the imaging service or the EHR service. */
export type StudyService = (message: StudyMessage, context: HandlerContext) => Promise<Answer>;

/** The longest pause that a service may ask for with `Retry-After`, in milliseconds. */
const MAX_PAUSE_MS = 3_600_000;

/**
 * A service behind HTTP: the study is sent as JSON by POST.
 *
 * | status                                    | the message is…                                                     |
 * |-------------------------------------------|---------------------------------------------------------------------|
 * | 2xx                                       | done; a JSON reply is recorded                                      |
 * | 429, 503                                  | put back without counting an attempt, after `Retry-After` (default 5 s) |
 * | 408, other 5xx, no or a broken connection | tried again after a growing pause                                   |
 * | anything else                             | dead-lettered with the status                                       |
 *
 * @param url Where to send it.
 * @returns The service. It follows no redirect: a study must not leave for a host that was not named.
 */
export function httpStudyService(url: URL): StudyService {
  return async (message, { signal, messageId, attempt, traceparent }) => {
    const headers = {
      "x-pixl-message-id": messageId,
      "x-pixl-attempt": String(attempt),
      ...(traceparent === undefined ? {} : { traceparent }),
    };
    try {
      return answerOf(await httpRequest(url, { method: "POST", json: message, headers, signal }));
    } catch (error) {
      if (signal.aborted) throw error;
      return { kind: "retry", reason: "the service did not answer" };
    }
  };
}

function answerOf({ status, text, retryAfter }: Reply): Answer {
  const reason = `the service answered with status ${status}`;
  if (status >= 200 && status < 300) {
    if (text.trim() === "") return { kind: "done", reply: undefined };
    try {
      return { kind: "done", reply: JSON.parse(text) };
    } catch {
      return { kind: "retry", reason: "the service's reply is not JSON" };
    }
  }
  if (status === 429 || status === 503) return { kind: "requeue", reason, afterMs: retryAfterMs(retryAfter) };
  if (status === 408 || status >= 500) return { kind: "retry", reason };
  return { kind: "discard", reason };
}

/**
 * Reads `Retry-After` (RFC 9110 section 10.2.3): seconds or a date.
 *
 * @param header The header's text, or `null`.
 * @param now The time a date is compared with, in milliseconds since 1970.
 * @returns Milliseconds from 0 to an hour; 5,000 if there is none or it cannot be read.
 */
export function retryAfterMs(header: string | null, now: number = Date.now()): number {
  if (header === null) return 5_000;
  const ms = /^\s*\d+\s*$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - now;
  return Number.isNaN(ms) ? 5_000 : Math.min(Math.max(ms, 0), MAX_PAUSE_MS);
}
