import { PixlError } from "../errors.ts";
import type { Delivery } from "./broker.ts";
import type { StudyMessage } from "./message.ts";
import type { Handler, Outcome } from "./outcome.ts";

/** What is to become of a message; `release`: its handler was given up. */
export type Result = Outcome | { readonly kind: "release" };

/** Calls a handler, and ends each call at its time-out, when its message is lost, and when all are given up. */
export class HandlerCalls implements Disposable {
  readonly #handler: Handler;
  readonly #timeoutMs: number;
  readonly #giveUp: AbortSignal;
  readonly #clock: () => number;
  /** Those under way, the oldest first. */
  readonly #calls = new Set<Call>();
  /** One for all of them, since a timer costs as much as the rest of a call. It was set for the oldest then, which may have ended. */
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param handler Whom to call. @param timeoutMs Most milliseconds of a call. @param giveUp Ends them all. @param clock Milliseconds. */
  constructor(handler: Handler, timeoutMs: number, giveUp: AbortSignal, clock = () => performance.now()) {
    this.#clock = clock;
    this.#handler = handler;
    this.#timeoutMs = timeoutMs;
    this.#giveUp = giveUp;
    giveUp.addEventListener("abort", () => {
      for (const call of this.#calls) call.end(giveUp.reason);
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
    const call = new Call(this.#clock() + this.#timeoutMs);
    const lose = () => call.end(lost.reason);
    lost.addEventListener("abort", lose, { once: true });
    this.#calls.add(call);
    this.#watch();
    try {
      const context = {
        attempt,
        messageId,
        signal: call.signal,
        ...(priority === undefined ? {} : { priority }),
        ...(traceparent === undefined ? {} : { traceparent }),
      };
      return sound(await Promise.race([this.#handler(message, context), call.cut]));
    } catch (error) {
      if (lost.aborted) throw error;
      if (this.#giveUp.aborted) return { kind: "release" };
      const reason = call.isLate ? `no answer within ${this.#timeoutMs} ms` : codeOf(error);
      return { kind: "retry", reason, errorClass: codeOf(error) };
    } finally {
      lost.removeEventListener("abort", lose);
      this.#calls.delete(call);
    }
  }

  /** Ends the calls that are due, when they are. */
  #watch(): void {
    const [oldest] = this.#calls;
    if (this.#timer !== undefined || oldest === undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const now = this.#clock();
      for (const call of this.#calls) {
        if (call.due > now) break;
        call.isLate = true;
        call.end(new DOMException("Timed out", "TimeoutError"));
        this.#calls.delete(call);
      }
      this.#watch();
    }, Math.max(0, oldest.due - this.#clock()));
  }

  /** Calls under way are watched no more. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

/** A call under way. By hand, since AbortSignal.any() and a race with it cost more than all the rest. */
class Call {
  /** When its time is over. */
  readonly due: number;
  /** Rejects at its end. */
  readonly cut: Promise<never>;
  /** Its time was over. */
  isLate = false;
  readonly #reject: (reason: unknown) => void;
  readonly #ended = new AbortController();

  /** @param due See there. */
  constructor(due: number) {
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.due = due;
    this.cut = promise;
    this.#reject = reject;
  }

  /** Tells the handler of the end. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** Ends it. */
  end(reason: unknown): void {
    this.#ended.abort(reason);
    this.#reject(reason);
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
