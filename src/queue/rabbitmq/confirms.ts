import { Buffer } from "node:buffer";
import { deadline, delay } from "@std/async";
import { type ConfirmChannel, IllegalOperationError, type Options } from "amqplib";
import type { Abortable, OutgoingMessage } from "../broker.ts";
import { QueueError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import { missingQueue } from "./failure.ts";

/** The longest that a timer can be set to. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** A message and what goes with it. */
export interface Letter extends OutgoingMessage {
  /** AMQP properties beside those that are always set. */
  readonly properties?: Options.Publish;
}

/** A message on its way. */
export interface Sent {
  /** Resolves when the broker has it, rejects with the reason why not. */
  readonly confirmed: Promise<void>;
  /** Ends the wait with this reason. */
  giveUp(reason: unknown): void;
}

/** How long somebody waits. */
export interface Patience {
  /** Most milliseconds. */
  readonly timeoutMs: number;
  /** Whether a broker that is short of memory or disk, and says so, is given all the time that it needs. @default {false} */
  readonly bearsAlarm?: boolean;
}

/** A message whose confirmation is awaited. */
class Pending implements Sent {
  readonly confirmed: Promise<void>;
  readonly messageId: string;
  readonly queue: string;
  /** How long it may take, and when that time is over, as by `performance.now()`. */
  readonly patience: Patience;
  until: number;
  /** RabbitMQ gave it back, and will confirm it all the same. */
  returned = false;
  readonly #forget: (pending: Pending) => void;
  readonly #resolve: () => void;
  readonly #reject: (reason: unknown) => void;

  constructor(messageId: string, queue: string, patience: Patience, forget: (pending: Pending) => void) {
    this.messageId = messageId;
    this.queue = queue;
    this.patience = patience;
    this.until = performance.now() + patience.timeoutMs;
    this.#forget = forget;
    ({ promise: this.confirmed, resolve: this.#resolve, reject: this.#reject } = Promise.withResolvers<void>());
  }

  /** The broker has it. */
  confirm(): void {
    this.#forget(this);
    this.#resolve();
  }

  giveUp(reason: unknown): void {
    this.#forget(this);
    this.#reject(reason);
  }
}

/** One channel with publisher confirms, opened when it is needed and again when it was closed. */
export class Confirms {
  readonly #connection: Connection;
  /** In the order sent. */
  readonly #pending = new Set<Pending>();
  /** One for all: a timer a message costs as much as sending it. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When it rings. */
  #due = 0;
  readonly #forget = (pending: Pending): void => {
    this.#pending.delete(pending);
    if (this.#pending.size > 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  };
  #channel: ConfirmChannel | undefined;
  #opening: Promise<void> | undefined;
  #full = false;
  /** How many have begun. */
  #alarms = 0;
  #changed = Promise.withResolvers<void>();

  /** @param connection Where the channel is opened. */
  constructor(connection: Connection) {
    this.#connection = connection;
    connection.onBlockedChange(() => {
      if (connection.blocked) this.#alarms += 1;
      else this.#giveTimeBack();
      this.#wake();
    });
  }

  /** The channel, if a message may be sent now. */
  get usable(): ConfirmChannel | undefined {
    return this.#full || this.#connection.blocked ? undefined : this.#channel;
  }

  /**
   * Waits until a message may be sent: connected, not blocked, and what was written before is on its way.
   *
   * @param patience How long, one millisecond at least.
   * @throws {QueueError} `broker-unreachable` after that time, `closed`; the signal's reason.
   */
  async ready(patience: Patience, { signal }: Abortable = {}): Promise<ConfirmChannel> {
    for (;;) {
      const alarms = this.#connection.blocked ? this.#alarms - 1 : this.#alarms;
      try {
        return await this.#readyWithin(Math.max(1, patience.timeoutMs), { ...(signal && { signal }) });
      } catch (error) {
        // An alarm has used the time up, also one that is over.
        if (!(patience.bearsAlarm && this.#alarms > alarms)) throw error;
        signal?.throwIfAborted();
        this.#connection.closing.throwIfAborted();
      }
    }
  }

  async #readyWithin(timeoutMs: number, { signal }: Abortable): Promise<ConfirmChannel> {
    const over = new AbortController();
    const signals = [over.signal, this.#connection.closing, ...(signal === undefined ? [] : [signal])];
    const ended = AbortSignal.any(signals);
    try {
      return await deadline(this.#usableUntil(ended), timeoutMs, { signal: ended });
    } catch (error) {
      if (ended.aborted) throw ended.reason;
      throw silence(timeoutMs, this.#connection, error);
    } finally {
      over.abort();
    }
  }

  /**
   * Sends one message to a queue by way of the default exchange.
   *
   * @param channel From {@linkcode ready}.
   * @param queue A queue of RabbitMQ.
   * @param letter The message.
   * @param patience Time allowed for the confirmation.
   */
  send(channel: ConfirmChannel, queue: string, letter: Letter, patience: Patience): Sent {
    const { messageId, body, properties } = letter;
    const pending = new Pending(messageId, queue, patience, this.#forget);
    this.#pending.add(pending);
    this.#watch(patience.timeoutMs);
    try {
      const options = { contentType: "application/json", ...properties, messageId, persistent: true, mandatory: true };
      const content = Buffer.from(body.buffer, body.byteOffset, body.length);
      this.#connection.gather();
      const roomy = channel.publish("", queue, content, options, (error) => {
        if (error !== null && error !== undefined) pending.giveUp(error);
        else if (pending.returned) pending.giveUp(missingQueue(queue));
        else pending.confirm();
      });
      if (!roomy) this.#full = true;
    } catch (error) {
      // It may have closed before anyone listened.
      if (error instanceof IllegalOperationError && this.#channel === channel) this.#channel = undefined;
      pending.giveUp(error);
    }
    return pending;
  }

  async #usableUntil(ended: AbortSignal): Promise<ConfirmChannel> {
    for (;;) {
      ended.throwIfAborted();
      const channel = this.usable;
      if (channel !== undefined) return channel;
      if (this.#channel !== undefined) await this.#changed.promise;
      else await (this.#opening ??= this.#open().finally(() => this.#opening = undefined));
    }
  }

  /** Never rejects: each caller decides how long it tries. */
  async #open(): Promise<void> {
    try {
      const channel = await this.#connection.confirmChannel();
      channel.on("drain", () => {
        this.#full = false;
        this.#wake();
      });
      channel.on("return", ({ fields, properties }) => {
        // It bears no number, but comes in the order sent.
        const { routingKey } = fields;
        const messageId = properties.messageId ?? "";
        const pending = this.#pending.values().find((sent) =>
          !sent.returned && sent.messageId === messageId && sent.queue === routingKey
        );
        if (pending !== undefined) pending.returned = true;
      });
      channel.on("close", () => {
        if (this.#channel !== channel) return;
        this.#channel = undefined;
        this.#wake();
      });
      this.#channel = channel;
      this.#full = false;
    } catch {
      await delay(200, { signal: this.#connection.closing }).catch(() => {});
    }
  }

  /** An alarm is over: those that bore it have all their time again. */
  #giveTimeBack(): void {
    const now = performance.now();
    for (const pending of this.#pending) {
      if (pending.patience.bearsAlarm) pending.until = now + pending.patience.timeoutMs;
    }
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Makes sure that whoever waits longest is looked at in time. */
  #watch(timeoutMs: number): void {
    const due = performance.now() + timeoutMs;
    if (this.#timer !== undefined) {
      if (due >= this.#due) return;
      clearTimeout(this.#timer);
    }
    this.#due = due;
    this.#timer = setTimeout(() => this.#giveUpOverdue(), Math.min(timeoutMs, MAX_TIMER_MS));
  }

  #giveUpOverdue(): void {
    this.#timer = undefined;
    const now = performance.now();
    let next = Infinity;
    for (const pending of this.#pending) {
      const { timeoutMs, bearsAlarm } = pending.patience;
      if (pending.until > now) next = Math.min(next, pending.until);
      else if (bearsAlarm && this.#connection.blocked) next = Math.min(next, now + timeoutMs);
      else pending.giveUp(silence(timeoutMs, this.#connection));
    }
    if (next < Infinity) this.#watch(next - now);
  }
}

function silence(timeoutMs: number, connection: Connection, cause?: unknown): QueueError {
  // It says more: that the login is refused, for one.
  if (connection.failure !== undefined) return connection.failure;
  const { host, port } = connection.settings;
  const why = connection.blocked ? "it is short of memory or disk" : "check that it is running";
  return new QueueError(
    "broker-unreachable",
    `RabbitMQ at ${host}:${port} did not confirm a message within ${
      Math.round(timeoutMs)
    } ms: ${why}, then publish again`,
    { cause },
  );
}
