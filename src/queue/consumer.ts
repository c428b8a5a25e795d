import { deadline, delay } from "@std/async";
import { getLogger } from "@logtape/logtape";
import { PixlError } from "../errors.ts";
import { backoffMs } from "./backoff.ts";
import type { Broker, Delivery, Subscription } from "./broker.ts";
import { checkTime } from "./check_time.ts";
import { MalformedMessageError, QueueError } from "./errors.ts";
import { decodeMessage, type StudyMessage } from "./message.ts";
import type { ConsumeOptions, ConsumerCounts, ConsumerStats, LastError, StopOptions } from "./consumer_options.ts";
import { codeOf, HandlerCalls, isPause, type Result } from "./handler_calls.ts";
import type { Handler } from "./outcome.ts";
import { RateMeter } from "./rate_meter.ts";

const log = getLogger(["pixl", "queue", "consumer"]);

/** Works through one queue until it is stopped. Made by {@linkcode consume}. */
export class Consumer implements AsyncDisposable {
  readonly #broker: Broker;
  readonly #queue: string;
  readonly #calls: HandlerCalls;
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
    this.#options = {
      concurrency: 5,
      maxAttempts: 5,
      handlerTimeoutMs: 240_000,
      backoff: backoffMs,
      ...options,
    };
    this.#calls = new HandlerCalls(handler, this.#options.handlerTimeoutMs, this.#giveUp.signal);
    this.#resumed.resolve();
    this.#loop = this.#takeInTurn();
    // Whoever awaits `finished` sees a failure; that nobody does must not end the process.
    void this.#loop.catch(() => {}).then(() => this.#putAway());
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
      this.#calls[Symbol.dispose]();
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

  /** Whoever hears that the queue failed for good need not stop it: what was sent ahead, and the place of the one active, is for others then. */
  async #putAway(): Promise<void> {
    await Promise.all(this.#working);
    try {
      await this.#subscription[Symbol.asyncDispose]();
    } catch {
      // It comes back when its lease has run out, or the connection is closed.
    }
    this.#calls[Symbol.dispose]();
  }

  async #next(signal: AbortSignal): Promise<Delivery | undefined> {
    const { limiter } = this.#options;
    let held = 0;
    let delivery: Delivery | undefined;
    try {
      await limiter?.take(1, { signal });
      held = 1;
      const asked = limiter === undefined ? Infinity : performance.now();
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
      log.warn("Message {messageId} of '{queue}' could not be answered and will come again: {reason}", {
        messageId: delivery.messageId,
        queue: this.#queue,
        reason,
      });
    }
  }

  async #outcome(delivery: Delivery): Promise<{ message?: StudyMessage; outcome: Result }> {
    let message: StudyMessage;
    try {
      message = decodeMessage(delivery.body);
    } catch (error) {
      if (!(error instanceof MalformedMessageError)) throw error;
      return { outcome: { kind: "discard", reason: error.message } };
    }
    const { maxAttempts } = this.#options;
    if (delivery.attempt > maxAttempts) {
      const ended = "its consumers died with it, or fewer are allowed than before";
      return {
        message,
        outcome: { kind: "discard", reason: `attempt ${delivery.attempt} of ${maxAttempts}: ${ended}` },
      };
    }
    return { message, outcome: await this.#calls.call(message, delivery) };
  }

  async #dispose(
    delivery: Delivery,
    { message, outcome }: { message?: StudyMessage | undefined; outcome: Result },
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
    log.error("Message {messageId} of '{queue}' moved to the dead-letter queue: {reason}", {
      messageId: delivery.messageId,
      queue: this.#queue,
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
    const text = "Message {messageId} of '{queue}' is {what} (attempt {attempt}): {reason}";
    log[news ? "warn" : "info"](text, { messageId, queue: this.#queue, what, attempt, reason });
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
