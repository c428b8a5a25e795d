import type { HandlerContext, Outcome, StudyMessage } from "../queue/mod.ts";

/** What a service made of a study: its reply, or what should become of the message instead. */
export type Answer = { readonly kind: "done"; readonly reply: unknown } | Exclude<Outcome, { kind: "done" }>;

/** A service that is asked for one study: the imaging service or the EHR service. */
export type StudyService = (message: StudyMessage, context: HandlerContext) => Promise<Answer>;

/** A reply is read up to so many bytes; a radiology report has a few thousand. */
const MAX_REPLY_BYTES = 16 << 20;

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
  return async (message, { signal, messageId, attempt }) => {
    let response: Response;
    let text: string;
    try {
      response = await fetch(url, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          "x-pixl-message-id": messageId,
          "x-pixl-attempt": String(attempt),
        },
        body: JSON.stringify(message),
        redirect: "manual",
        signal,
      });
      text = await readText(response);
    } catch (error) {
      if (signal.aborted) throw error;
      return { kind: "retry", reason: "the service did not answer" };
    }
    return answerOf(response, text);
  };
}

function answerOf(response: Response, text: string): Answer {
  const { status } = response;
  const reason = `the service answered with status ${status}`;
  if (response.ok) {
    if (text.trim() === "") return { kind: "done", reply: undefined };
    try {
      return { kind: "done", reply: JSON.parse(text) };
    } catch {
      return { kind: "retry", reason: "the service's reply is not JSON" };
    }
  }
  if (status === 429 || status === 503) {
    return { kind: "requeue", reason, afterMs: retryAfterMs(response.headers.get("retry-after")) };
  }
  if (status === 408 || status >= 500) return { kind: "retry", reason };
  return { kind: "discard", reason };
}

async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let [text, bytes] = ["", 0];
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_REPLY_BYTES) throw new RangeError(`The reply has more than ${MAX_REPLY_BYTES} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
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
