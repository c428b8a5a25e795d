import type { Effect, Priority } from "./broker.ts";
import type { StudyMessage } from "./message.ts";

/** What became of a study in a handler's hands. */
export type Outcome =
  | { readonly kind: "done"; readonly effect?: Effect }
  | { readonly kind: "retry"; readonly reason: string; readonly afterMs?: number; readonly errorClass?: string }
  | { readonly kind: "requeue"; readonly reason: string; readonly afterMs?: number }
  | { readonly kind: "discard"; readonly reason: string; readonly errorClass?: string };

/** What a handler knows of the attempt. */
export interface HandlerContext {
  /** 1 for the first. */
  readonly attempt: number;
  /** The message's id, fit for logs inside the hospital. */
  readonly messageId: string;
  /** As published; see {@linkcode OutgoingMessage}. */
  readonly priority?: Priority;
  /** As published: the trace that the work belongs to. */
  readonly traceparent?: string;
  /** Aborts at the time-out, when the message is lost to another consumer, and at the end of the grace period. */
  readonly signal: AbortSignal;
}

/**
 * Works on one study.
 *
 * | the handler…              | the message is…                                                                        |
 * |---------------------------|----------------------------------------------------------------------------------------|
 * | returns `done`            | acknowledged, together with the effect if there is one; if that throws, tried again    |
 * | returns `requeue`         | put back, not counted as an attempt                                                    |
 * | throws, or returns `retry` | tried again after a growing pause, up to `maxAttempts`, then dead-lettered with the reason |
 * | returns `discard`         | dead-lettered with the reason                                                          |
 *
 * An effect is what must happen with the acknowledgement or not at all, such as a row that says that the study is done: see {@linkcode Effect}.
 *
 * Reasons are kept with the message and shown to operators: no MRN, no accession number. Of a thrown error only its class and code are kept.
 */
export type Handler = (message: StudyMessage, context: HandlerContext) => Promise<Outcome>;
