import { Buffer } from "node:buffer";
import { deadline, delay } from "@std/async";
import { type ConfirmChannel, IllegalOperationError, type Options } from "amqplib";
import type { Abortable, OutgoingMessage } from "../broker.ts";
import { QueueError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import { missingQueue } from "./failure.ts";

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

interface Pending {
  returned: boolean;
}

/** One channel with publisher confirms, opened when it is needed and again when it was closed. */
export class Confirms {
  readonly #connection: Connection;
  /** By queue and message id, in the order sent: a returned message bears no number. */
  readonly #pending = new Map<string, Pending[]>();
  #channel: ConfirmChannel | undefined;
  #opening: Promise<void> | undefined;
  #full = false;
  #changed = Promise.withResolvers<void>();

  /** @param connection Where the channel is opened. */
  constructor(connection: Connection) {
    this.#connection = connection;
    connection.onBlockedChange(() => this.#wake());
  }

  /** The channel, if a message may be sent now. */
  get usable(): ConfirmChannel | undefined {
    return this.#full || this.#connection.blocked ? undefined : this.#channel;
  }

  /**
   * Waits until a message may be sent: connected, not blocked, and what was written before is on its way.
   *
   * @param timeoutMs Most milliseconds.
   * @throws {QueueError} `broker-unreachable` after that time, `closed`; the signal's reason.
   */
  async ready(timeoutMs: number, { signal }: Abortable = {}): Promise<ConfirmChannel> {
    const patience = new AbortController();
    const signals = [patience.signal, this.#connection.closing, ...(signal === undefined ? [] : [signal])];
    const ended = AbortSignal.any(signals);
    try {
      return await deadline(this.#usableUntil(ended), timeoutMs, { signal: ended });
    } catch (error) {
      if (ended.aborted) throw ended.reason;
      throw silence(timeoutMs, this.#connection, error);
    } finally {
      patience.abort();
    }
  }

  /**
   * Sends one message to a queue by way of the default exchange.
   *
   * @param channel From {@linkcode ready}.
   * @param queue A queue of RabbitMQ.
   * @param letter The message.
   * @param timeoutMs Time allowed for the confirmation.
   */
  send(channel: ConfirmChannel, queue: string, letter: Letter, timeoutMs: number): Sent {
    const { promise: confirmed, resolve, reject } = Promise.withResolvers<void>();
    const { messageId, body, properties } = letter;
    const key = `${messageId}\n${queue}`;
    const pending: Pending = { returned: false };
    const settle = (finish: () => void) => {
      clearTimeout(timer);
      this.#forget(key, pending);
      finish();
    };
    const giveUp = (reason: unknown) => settle(() => reject(reason));
    const timer = setTimeout(() => giveUp(silence(timeoutMs, this.#connection)), timeoutMs);
    this.#remember(key, pending);
    try {
      const options = { contentType: "application/json", ...properties, messageId, persistent: true, mandatory: true };
      const roomy = channel.publish(
        "",
        queue,
        Buffer.from(body.buffer, body.byteOffset, body.length),
        options,
        (error) => {
          if (error !== null && error !== undefined) giveUp(error);
          else if (pending.returned) giveUp(missingQueue(queue));
          else settle(resolve);
        },
      );
      if (!roomy) this.#full = true;
    } catch (error) {
      // It may have closed before anyone listened.
      if (error instanceof IllegalOperationError && this.#channel === channel) this.#channel = undefined;
      giveUp(error);
    }
    return { confirmed, giveUp };
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
        const sent = this.#pending.get(`${properties.messageId ?? ""}\n${fields.routingKey}`);
        const pending = sent?.find(({ returned }) => !returned);
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

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  #remember(key: string, pending: Pending): void {
    const same = this.#pending.get(key);
    if (same === undefined) this.#pending.set(key, [pending]);
    else same.push(pending);
  }

  #forget(key: string, pending: Pending): void {
    const others = (this.#pending.get(key) ?? []).filter((other) => other !== pending);
    if (others.length === 0) this.#pending.delete(key);
    else this.#pending.set(key, others);
  }
}

function silence(timeoutMs: number, connection: Connection, cause?: unknown): QueueError {
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
