import { deadline, delay } from "@std/async";
import { getLogger } from "@logtape/logtape";
import { PixlError } from "../errors.ts";
import { backoffMs } from "./backoff.ts";
import type { Broker, Delivery, Subscription } from "./broker.ts";
import { checkTime } from "./check_time.ts";
import { MalformedMessageError, QueueError } from "./errors.ts";
import { decodeMessage, type StudyMessage } from "./message.ts";
import type { Handler, Outcome } from "./outcome.ts";
import { RateMeter } from "./rate_meter.ts";

const log = getLogger(["pixl", "queue", "consumer"]);

/** What a consumer needs of a rate limiter; {@linkcode TokenBucket} of `@pixl/core/rate-limiter` is one. */
export interface Limiter {
  /** Waits for a token. */
  take(n?: number, options?: { readonly signal?: AbortSignal }): Promise<void>;
  /** Gives back a token that was not used. */
  refund(n?: number): void;
}

/** How a consumer works through a queue. */
export interface ConsumeOptions {
  /** Paces the studies: a token is taken before a message is taken from the broker. Without one there is no limit. */
  readonly limiter?: Limiter;
  /** Most studies in hand at once. @default {5} */
  readonly concurrency?: number;
  /** Attempts before a message goes to the dead-letter queue. @default {5} */
  readonly maxAttempts?: number;
  /**
   * Working time allowed to one handler call, in milliseconds, and to an effect. RabbitMQ must allow more (`consumer_timeout` in rabbitmq.conf, 30
   * minutes if not set): it takes back all that a consumer has in hand when one of them is there for longer. @default {240_000}
   */
  readonly handlerTimeoutMs?: number;
  /** The pause before the next attempt, in milliseconds. @default {backoffMs} */
  readonly backoff?: (attempt: number) => number;
  /** Whether only one consumer at a time takes messages of the queue; see {@linkcode SubscribeOptions}. @default {false} */
  readonly singleActive?: boolean;
  /** Called before a message goes to the dead-letter queue; without a message if it could not be read. */
  readonly onDeadLetter?: (message: StudyMessage | undefined, reason: string) => Promise<void>;
  /** Called after each disposition, to show progress. */
  readonly onOutcome?: (outcome: keyof ConsumerCounts) => void;
}

/** What became of the messages so far. */
export interface ConsumerCounts {
  /** Acknowledged. */
  readonly done: number;
  /** Put back as the next attempt. */
  readonly retried: number;
  /** Put back without counting an attempt. */
  readonly requeued: number;
  /** Moved to the dead-letter queue. */
  readonly dead: number;
  /** Handed back at a stop, or lost to another consumer: they come again. */
  readonly returned: number;
}

/** How a consumer is doing. */
export interface ConsumerStats extends ConsumerCounts {
  /** Messages being worked on. */
  readonly inHand: number;
  /** Whether it was told to pause. */
  readonly paused: boolean;
  /** Messages a second, whatever became of them, over the last minute. */
  readonly perSecond: number;
  /** Why the last message that was not done was not. */
  readonly lastError?: LastError;
}

/** An error and its time. */
export interface LastError {
  /** Without identifiers. */
  readonly reason: string;
  /** ISO 8601 in UTC. */
  readonly at: string;
}

/** How a consumer stops. */
export interface StopOptions {
  /** Time allowed to what is in hand, in milliseconds, before its handlers are aborted and its messages handed back. @default {30_000} */
  readonly graceMs?: number;
}

/** Works through one queue until it is stopped. Made by {@linkcode consume}. */
export class Consumer implements AsyncDisposable {
  readonly #broker: Broker;
  readonly #queue: string;
  readonly #handler: Handler;
  readonly #options:
    & Required<Pick<ConsumeOptions, "concurrency" | "maxAttempts" | "handlerTimeoutMs" | "backoff">>
    & ConsumeOptions;
  readonly #subscription: Subscription;
  readonly #stopTaking = new AbortController();
  /** Ends a wait for a token or a message: aborted by a pause, new after it. */
  #taking = new AbortController();
  /** Resolves when nothing is paused. */
  #resumed = Promise.withResolvers<void>();
  readonly #giveUp = new AbortController();
  /** Ends each handler call that is under way. */
  readonly #attempts = new Set<(reason: unknown) => void>();
  readonly #working = new Set<Promise<void>>();
  #finishedOne = Promise.withResolvers<void>();
  readonly #counts: { -readonly [K in keyof ConsumerCounts]: number } = {
    done: 0,
    retried: 0,
    requeued: 0,
    dead: 0,
    returned: 0,
  };
  readonly #meter = new RateMeter(performance.now());
  #lastError: LastError | undefined;
  /** When a warning was last logged, on `performance.now()`'s clock. */
  #warned = -Infinity;
  #taken = 0;
  /** A message is here and waits for its token. */
  #arrived = false;
  readonly #loop: Promise<void>;

  /** Use {@linkcode consume}. */
  constructor(broker: Broker, queue: string, subscription: Subscription, handler: Handler, options: ConsumeOptions) {
    this.#broker = broker;
    this.#queue = queue;
    this.#subscription = subscription;
    this.#handler = handler;
    this.#options = {
      concurrency: 5,
      maxAttempts: 5,
      handlerTimeoutMs: 240_000,
      backoff: backoffMs,
      ...options,
    };
    this.#giveUp.signal.addEventListener("abort", () => {
      for (const end of this.#attempts) end(this.#giveUp.signal.reason);
    }, { once: true });
    this.#resumed.resolve();
    this.#loop = this.#takeInTurn();
    // Whoever awaits `finished` sees a failure; that nobody does must not end the process.
    this.#loop.catch(() => {});
  }

  /** What became of the messages so far, and what it is doing. */
  get stats(): ConsumerStats {
    return {
      ...this.#counts,
      inHand: this.#working.size,
      paused: this.#taking.signal.aborted && !this.#stopTaking.signal.aborted,
      perSecond: this.#meter.perSecond(performance.now()),
      ...(this.#lastError === undefined ? {} : { lastError: this.#lastError }),
    };
  }

  get #busy(): boolean {
    return this.#working.size > 0 || this.#arrived;
  }

  /**
   * Takes nothing new until {@linkcode resume}; what is in hand goes on, and without a limiter up to `concurrency` messages that were sent ahead stay
   * here. Calling it twice is harmless.
   */
  pause(): void {
    if (this.#taking.signal.aborted) return;
    this.#resumed = Promise.withResolvers();
    this.#taking.abort(new DOMException("The consumer was paused", "AbortError"));
  }

  /** Takes messages again. Calling it twice is harmless. */
  resume(): void {
    if (!this.#taking.signal.aborted || this.#stopTaking.signal.aborted) return;
    this.#taking = new AbortController();
    this.#resumed.resolve();
  }

  /** Resolves when the consumer was stopped. @throws {QueueError} If the queue failed for good: nothing more is taken. */
  get finished(): Promise<void> {
    return this.#loop;
  }

  /**
   * Resolves when the queue is empty: nothing ready, nothing delayed, nothing in hand; not while it is paused.
   *
   * @param options A signal that ends the wait.
   * @throws The signal's reason, also of a stop.
   * @throws {QueueError} If the queue failed meanwhile.
   */
  async idle(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const signal = AbortSignal.any([
      this.#stopTaking.signal,
      ...(options.signal === undefined ? [] : [options.signal]),
    ]);
    // Twice in a row, since a message may be on its way between two queues while they are counted.
    for (let empty = 0; empty < 2;) {
      await Promise.race([delay(50, { signal }), this.#loop]);
      const taken = this.#taken;
      // A message that was sent ahead of a pause is counted nowhere.
      if (this.#busy || this.stats.paused) {
        empty = 0;
        continue;
      }
      const depth = await this.#broker.depth(this.#queue, { signal });
      const left = depth.ready + depth.delayed + (depth.inHand ?? 0);
      empty = left === 0 && !this.#busy && this.#taken === taken ? empty + 1 : 0;
    }
  }

  /**
   * Takes nothing new, lets what is in hand finish within the grace period, hands back the rest. What cannot be handed back within 2 s more, since the
   * broker does not answer, comes again when the broker is closed. Calling it twice is harmless.
   *
   * @throws {RangeError} If `graceMs` is no time.
   */
  async stop(options: StopOptions = {}): Promise<void> {
    const { graceMs = 30_000 } = options;
    checkTime("stop a consumer", "graceMs", graceMs, 0);
    const stopped = new DOMException("The consumer was stopped", "AbortError");
    this.#stopTaking.abort(stopped);
    this.#taking.abort(stopped);
    this.#resumed.resolve();
    this.#finishedOne.resolve();
    const timer = setTimeout(
      () => this.#giveUp.abort(new DOMException("The grace period is over", "AbortError")),
      graceMs,
    );
    try {
      await this.#loop.catch(() => {});
      await withinMs(Promise.all(this.#working), graceMs + FAREWELL_MS);
      await this.#subscription[Symbol.asyncDispose]();
    } finally {
      clearTimeout(timer);
    }
  }

  /** The same as {@linkcode stop} with the default grace period. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** One message at a time asks for a token, so that an idle queue holds no more than one beside the bucket. */
  async #takeInTurn(): Promise<void> {
    const { signal } = this.#stopTaking;
    while (!signal.aborted) {
      while (this.#working.size >= this.#options.concurrency && !signal.aborted) {
        this.#finishedOne = Promise.withResolvers();
        await this.#finishedOne.promise;
      }
      await this.#resumed.promise;
      const delivery = await this.#next(this.#taking.signal);
      if (delivery === undefined) continue;
      const work = this.#work(delivery).finally(() => {
        this.#working.delete(work);
        this.#finishedOne.resolve();
      });
      this.#working.add(work);
      this.#arrived = false;
    }
  }

  async #next(signal: AbortSignal): Promise<Delivery | undefined> {
    const { limiter } = this.#options;
    let held = 0;
    let delivery: Delivery | undefined;
    try {
      await limiter?.take(1, { signal });
      held = 1;
      const asked = performance.now();
      delivery = await this.#subscription.next({ signal });
      this.#arrived = true;
      this.#taken += 1;
      if (limiter !== undefined && performance.now() - asked > IDLE_MS) {
        // The bucket filled up while this token was held: a full bucket and one more would be a larger burst than allowed.
        held = 0;
        limiter.refund();
        await limiter.take(1, { signal: AbortSignal.any([signal, delivery.lost]) });
      }
      return delivery;
    } catch (error) {
      if (held > 0) limiter?.refund();
      // If it is lost, it comes again by itself.
      await delivery?.release().catch(() => {});
      this.#arrived = false;
      if (signal.aborted || delivery?.lost.aborted) return undefined;
      throw error;
    }
  }

  async #work(delivery: Delivery): Promise<void> {
    try {
      await this.#dispose(delivery, await this.#outcome(delivery));
    } catch (error) {
      // If it is still ours it must not stay in hand for ever; if it is lost, it comes again by itself.
      await delivery.release().catch(() => {});
      this.#count("returned");
      const reason = error instanceof PixlError ? error.message : codeOf(error);
      this.#fail(reason);
      log.warn("Message {messageId} could not be answered and will come again: {reason}", {
        messageId: delivery.messageId,
        reason,
      });
    }
  }

  async #outcome(delivery: Delivery): Promise<{ message?: StudyMessage; outcome: Outcome | { kind: "release" } }> {
    let message: StudyMessage;
    try {
      message = decodeMessage(delivery.body);
    } catch (error) {
      if (!(error instanceof MalformedMessageError)) throw error;
      return { outcome: { kind: "discard", reason: error.message } };
    }
    if (delivery.attempt > this.#options.maxAttempts) {
      return {
        message,
        outcome: { kind: "discard", reason: `its consumers died with it, attempt ${delivery.attempt}` },
      };
    }
    delivery.lost.throwIfAborted();
    if (this.#giveUp.signal.aborted) return { message, outcome: { kind: "release" } };
    const { handlerTimeoutMs } = this.#options;
    // By hand: AbortSignal.any() and a race with it cost more than all the rest.
    const ended = new AbortController();
    const { signal } = ended;
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
    }, handlerTimeoutMs);
    const lose = () => end(delivery.lost.reason);
    delivery.lost.addEventListener("abort", lose, { once: true });
    this.#attempts.add(end);
    try {
      const { attempt, messageId, priority, traceparent } = delivery;
      const context = {
        attempt,
        messageId,
        signal,
        ...(priority === undefined ? {} : { priority }),
        ...(traceparent === undefined ? {} : { traceparent }),
      };
      return { message, outcome: sound(await Promise.race([this.#handler(message, context), cut])) };
    } catch (error) {
      if (delivery.lost.aborted) throw error;
      if (this.#giveUp.signal.aborted) return { message, outcome: { kind: "release" } };
      const reason = isLate ? `no answer within ${handlerTimeoutMs} ms` : codeOf(error);
      return { message, outcome: { kind: "retry", reason, errorClass: codeOf(error) } };
    } finally {
      clearTimeout(timer);
      delivery.lost.removeEventListener("abort", lose);
      this.#attempts.delete(end);
    }
  }

  async #dispose(
    delivery: Delivery,
    { message, outcome }: { message?: StudyMessage | undefined; outcome: Outcome | { kind: "release" } },
  ): Promise<void> {
    const { maxAttempts, handlerTimeoutMs } = this.#options;
    switch (outcome.kind) {
      case "done":
        try {
          const { effect } = outcome;
          await delivery.acknowledge(effect && ((transaction) => deadline(effect(transaction), handlerTimeoutMs)));
        } catch (error) {
          const lost = delivery.lost.aborted || (error instanceof QueueError && error.code === "delivery-lost");
          if (lost || outcome.effect === undefined) throw error;
          const reason = codeOf(error);
          return await this.#dispose(delivery, { message, outcome: { kind: "retry", reason, errorClass: reason } });
        }
        return this.#count("done");
      case "release":
        await delivery.release();
        return this.#count("returned");
      case "requeue":
        await delivery.requeue(outcome.afterMs ?? 1_000);
        this.#log(delivery, "put back", outcome.reason);
        return this.#count("requeued");
      case "retry":
        if (delivery.attempt >= maxAttempts) {
          const { reason, errorClass } = outcome;
          return await this.#bury(delivery, message, `${reason}, attempt ${delivery.attempt}`, errorClass);
        }
        await delivery.retry(outcome.afterMs ?? this.#pauseMs(delivery.attempt));
        this.#log(delivery, "tried again later", outcome.reason);
        return this.#count("retried");
      case "discard":
        return await this.#bury(delivery, message, outcome.reason, outcome.errorClass);
    }
  }

  async #bury(
    delivery: Delivery,
    message: StudyMessage | undefined,
    reason: string,
    errorClass: string | undefined,
  ): Promise<void> {
    try {
      const { onDeadLetter, handlerTimeoutMs } = this.#options;
      if (onDeadLetter !== undefined) await deadline(onDeadLetter(message, reason), handlerTimeoutMs);
    } catch (error) {
      // What cannot be written down must not disappear into the dead letters.
      await delivery.requeue(UNRECORDED_PAUSE_MS);
      this.#log(delivery, "put back", `its failure could not be recorded (${codeOf(error)})`);
      return this.#count("requeued");
    }
    await delivery.deadLetter(reason, errorClass);
    this.#fail(reason);
    log.error("Message {messageId} moved to the dead-letter queue: {reason}", {
      messageId: delivery.messageId,
      reason,
    });
    this.#count("dead");
  }

  #pauseMs(attempt: number): number {
    try {
      const ms = this.#options.backoff(attempt);
      if (isPause(ms)) return ms;
    } catch {
      // As one that is no pause.
    }
    return backoffMs(attempt);
  }

  #log(delivery: Delivery, what: string, reason: string): void {
    const { messageId, attempt } = delivery;
    const now = performance.now();
    // A service that is down is told at once, and then once a minute: not with every study that it fails.
    const news = this.#lastError?.reason !== reason || now - this.#warned > REMIND_MS;
    this.#fail(reason);
    if (news) this.#warned = now;
    const text = "Message {messageId} is {what} (attempt {attempt}): {reason}";
    log[news ? "warn" : "info"](text, { messageId, what, attempt, reason });
  }

  #fail(reason: string): void {
    this.#lastError = { reason, at: new Date().toISOString() };
  }

  #count(what: keyof ConsumerCounts): void {
    this.#counts[what] += 1;
    this.#meter.count(performance.now());
    try {
      this.#options.onOutcome?.(what);
    } catch (error) {
      log.error("The consumer's onOutcome failed: {error}", { error: codeOf(error) });
    }
  }
}

function isPause(ms: number): boolean {
  return ms >= 0 && ms < Infinity;
}

/** What a handler gave, if it is an outcome: TypeScript alone would otherwise hold it to that. */
function sound(outcome: Outcome): Outcome {
  const kinds: readonly unknown[] = ["done", "retry", "requeue", "discard"];
  if (!kinds.includes(outcome?.kind)) return { kind: "retry", reason: "the handler gave no outcome" };
  if (!("afterMs" in outcome) || outcome.afterMs === undefined || isPause(outcome.afterMs)) return outcome;
  return { kind: "retry", reason: "the handler asked for a pause that is none" };
}

/** Waits for a promise that never rejects, no longer than so many milliseconds. */
async function withinMs(promise: Promise<unknown>, ms: number): Promise<void> {
  await deadline(promise, Math.min(ms, 2 ** 31 - 1)).catch(() => {});
}

/** Time allowed to handing back at a stop, in milliseconds. */
const FAREWELL_MS = 2_000;

/** A wait for a message that is longer than this, in milliseconds, means that the queue was idle. */
const IDLE_MS = 50;

/** Time after which a warning is repeated, in milliseconds. */
const REMIND_MS = 60_000;

/** Pause of a message whose failure could not be recorded, in milliseconds. */
const UNRECORDED_PAUSE_MS = 5_000;

function codeOf(error: unknown): string {
  if (error instanceof PixlError) return error.code;
  return error instanceof Error ? error.name : "unknown error";
}

/**
 * Starts to work through a queue.
 *
 * @param broker Where the queue is; it was declared there.
 * @param queue The queue's name.
 * @param handler Works on one study; its return value decides what becomes of the message.
 * @param options Pace, concurrency and attempts.
 * @returns The running consumer.
 * @throws {RangeError} If `concurrency` or `maxAttempts` is no whole number of at least 1, or `handlerTimeoutMs` no time.
 */
export async function consume(
  broker: Broker,
  queue: string,
  handler: Handler,
  options: ConsumeOptions = {},
): Promise<Consumer> {
  for (const name of ["concurrency", "maxAttempts"] as const) {
    const value = options[name];
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 1)) {
      throw new RangeError(
        `Cannot consume as '${name}' must be a whole number of at least 1: current value is ${value}`,
      );
    }
  }
  if (options.handlerTimeoutMs !== undefined) checkTime("consume", "handlerTimeoutMs", options.handlerTimeoutMs, 1);
  const prefetch = options.limiter === undefined ? options.concurrency ?? 5 : 0;
  const { singleActive = false } = options;
  const subscription = await broker.subscribe(queue, { prefetch, singleActive });
  return new Consumer(broker, queue, subscription, handler, options);
}
