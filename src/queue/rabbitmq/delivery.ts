import type { Message, MessagePropertyHeaders, Options } from "amqplib";
import type { Delivery } from "../broker.ts";
import { lostFailure } from "./failure.ts";
import type { Letter } from "./confirms.ts";
import type { Session } from "./session.ts";
import { delayQueueFor, queueNames } from "./topology.ts";

/** The attempt that a message is, from 1. Absent from messages that were never retried. */
const ATTEMPT = "x-pixl-attempt";
/** Why a dead letter is one. */
const REASON = "x-pixl-reason";
/** When it became one, ISO 8601 in UTC. */
const DEAD_AT = "x-pixl-dead-at";

/** AMQP has all headers in one frame. */
const MAX_REASON_LENGTH = 1_000;

/** What a delivery needs beside its message. */
export interface DeliveryContext {
  /** The queue that it came from. */
  readonly queue: string;
  /** The channel that it came through. */
  readonly session: Session;
  /** Returns before the broker makes it a dead letter. */
  readonly maxDeliveries: number;
  /** Sends a copy and waits for the confirmation. */
  send(queue: string, letter: Letter): Promise<void>;
}

/**
 * One message in hand. To move it, a copy is published and confirmed before the original is acknowledged: a crash between both leaves two, never none.
 */
export class RabbitmqDelivery implements Delivery {
  readonly messageId: string;
  readonly body: Uint8Array;
  readonly attempt: number;
  readonly #message: Message;
  readonly #context: DeliveryContext;
  #answered = false;

  /** @param message As received. @param context Where from. */
  constructor(message: Message, context: DeliveryContext) {
    const { content, properties } = message;
    const attempt: unknown = properties.headers?.[ATTEMPT];
    this.messageId = typeof properties.messageId === "string" ? properties.messageId : "";
    this.body = new Uint8Array(content);
    this.attempt = typeof attempt === "number" && Number.isInteger(attempt) && attempt > 0 ? attempt : 1;
    this.#message = message;
    this.#context = context;
    context.session.hold();
  }

  get lost(): AbortSignal {
    return this.#context.session.lost;
  }

  async acknowledge(): Promise<void> {
    await this.#answer(() => Promise.resolve());
  }

  async release(): Promise<void> {
    const { queue, session } = this.#context;
    // RabbitMQ counts returns to find messages that kill their consumers. A fresh copy counts from zero.
    if (this.#returns() >= this.#context.maxDeliveries / 2) return await this.#moveTo(queue, {});
    await this.#answer(() => Promise.resolve(), () => session.handBack(this.#message));
  }

  async requeue(delayMs: number): Promise<void> {
    await this.#moveTo(delayQueueFor(this.#context.queue, delayMs), {});
  }

  async retry(delayMs: number): Promise<void> {
    await this.#moveTo(delayQueueFor(this.#context.queue, delayMs), { [ATTEMPT]: this.attempt + 1 });
  }

  async deadLetter(reason: string): Promise<void> {
    await this.#moveTo(queueNames(this.#context.queue).dead, {
      [ATTEMPT]: this.attempt,
      [REASON]: reason.slice(0, MAX_REASON_LENGTH),
      [DEAD_AT]: new Date().toISOString(),
    });
  }

  /** Hands it back however it can. Never rejects: if all fails, the channel is closed and RabbitMQ takes it back. */
  async giveBack(): Promise<void> {
    try {
      await this.release();
    } catch {
      await this.#answer(() => Promise.resolve(), () => this.#context.session.handBack(this.#message)).catch(() => {});
    }
  }

  async #moveTo(queue: string, headers: Record<string, string | number>): Promise<void> {
    const { messageId, body } = this;
    await this.#answer(() => this.#context.send(queue, { messageId, body, properties: this.#copied(headers) }));
  }

  /** If the copy fails, the message is still in hand and may be answered otherwise. */
  async #answer(
    before: () => Promise<void>,
    last = () => this.#context.session.acknowledge(this.#message),
  ): Promise<void> {
    if (this.#answered) throw lostFailure("it was answered before");
    this.lost.throwIfAborted();
    this.#answered = true;
    try {
      await before();
    } catch (error) {
      this.#answered = false;
      throw error;
    }
    last();
  }

  #returns(): number {
    const count: unknown = this.#message.properties.headers?.["x-delivery-count"];
    return typeof count === "number" ? count : 0;
  }

  /** The sender's properties, without what RabbitMQ added on the way. */
  #copied(more: Record<string, string | number>): Options.Publish {
    const { contentType, contentEncoding, correlationId, replyTo, timestamp, type, appId, headers = {} } =
      this.#message.properties;
    const given = { contentType, contentEncoding, correlationId, replyTo, timestamp, type, appId };
    return {
      ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
      headers: { ...withoutHistory(headers), ...more },
    };
  }
}

function withoutHistory(headers: MessagePropertyHeaders): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) =>
      !/^x-(death|first-death-|last-death-|delivery-count$|acquired-count$)/.test(name)
    ),
  );
}
