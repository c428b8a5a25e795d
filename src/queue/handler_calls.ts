import { PixlError } from "../errors.ts";
import type { Delivery } from "./broker.ts";
import type { StudyMessage } from "./message.ts";
import type { Handler, Outcome } from "./outcome.ts";

/** What is to become of a message; `release`: its handler was given up. */
export type Result = Outcome | { readonly kind: "release" };

/** Calls a handler, and ends each call at its time-out, when its message is lost, and when all are given up. */
export class HandlerCalls {
  readonly #handler: Handler;
  readonly #timeoutMs: number;
  readonly #giveUp: AbortSignal;
  /** Ends each call that is under way. */
  readonly #ends = new Set<(reason: unknown) => void>();

  /** @param handler Whom to call. @param timeoutMs Most milliseconds of a call. @param giveUp Ends them all. */
  constructor(handler: Handler, timeoutMs: number, giveUp: AbortSignal) {
    this.#handler = handler;
    this.#timeoutMs = timeoutMs;
    this.#giveUp = giveUp;
    giveUp.addEventListener("abort", () => {
      for (const end of this.#ends) end(giveUp.reason);
    }, { once: true });
  }

  /**
   * Calls it with one message. What it throws, and what is no outcome, counts as an attempt.
   *
   * @throws The reason of `lost`.
   */
  async call(message: StudyMessage, { lost, attempt, messageId, priority, traceparent }: Delivery): Promise<Result> {
    lost.throwIfAborted();
    if (this.#giveUp.aborted) return { kind: "release" };
    // By hand: AbortSignal.any() and a race with it cost more than all the rest.
    const ended = new AbortController();
    const { promise: cut, reject } = Promise.withResolvers<never>();
    cut.catch(() => {});
    const end = (reason: unknown) => {
      ended.abort(reason);
      reject(reason);
    };
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      end(new DOMException("Timed out", "TimeoutError"));
    }, this.#timeoutMs);
    const lose = () => end(lost.reason);
    lost.addEventListener("abort", lose, { once: true });
    this.#ends.add(end);
    try {
      const context = {
        attempt,
        messageId,
        signal: ended.signal,
        ...(priority === undefined ? {} : { priority }),
        ...(traceparent === undefined ? {} : { traceparent }),
      };
      return sound(await Promise.race([this.#handler(message, context), cut]));
    } catch (error) {
      if (lost.aborted) throw error;
      if (this.#giveUp.aborted) return { kind: "release" };
      const reason = isLate ? `no answer within ${this.#timeoutMs} ms` : codeOf(error);
      return { kind: "retry", reason, errorClass: codeOf(error) };
    } finally {
      clearTimeout(timer);
      lost.removeEventListener("abort", lose);
      this.#ends.delete(end);
    }
  }
}

/** Whether it is a time that a message can be put back for, in milliseconds. */
export function isPause(ms: number): boolean {
  return ms >= 0 && ms < Infinity;
}

/** The code or the class of an error: its text may hold identifiers. */
export function codeOf(error: unknown): string {
  if (error instanceof PixlError) return error.code;
  return error instanceof Error ? error.name : "unknown error";
}

/** What a handler gave, if it is an outcome: TypeScript alone would otherwise hold it to that. */
function sound(outcome: Outcome): Outcome {
  const kinds: readonly unknown[] = ["done", "retry", "requeue", "discard"];
  if (!kinds.includes(outcome?.kind)) return { kind: "retry", reason: "the handler gave no outcome" };
  if (!("afterMs" in outcome) || outcome.afterMs === undefined || isPause(outcome.afterMs)) return outcome;
  return { kind: "retry", reason: "the handler asked for a pause that is none" };
}
