import type { Message } from "amqplib";
import type { Abortable, Delivery, Effect, Priority } from "../broker.ts";
import { PublishError } from "../errors.ts";
import { lostFailure } from "./failure.ts";
import type { Letter, Patience } from "./confirms.ts";
import type { Settings } from "./options.ts";
import { type Change, copied, deliveriesOf, publishedAtOf, readProperties, returnsOf } from "./properties.ts";
import type { Session } from "./session.ts";
import { delayQueueFor, queueNames } from "./topology.ts";

/**
 * For what work on a message has come to. Short of memory or disk, RabbitMQ takes nothing for as long as that lasts: to give the message back then would be
 * counted as a return, and the work be done again.
 */
const BEARING = { bearsAlarm: true } as const;

/** What a delivery needs beside its message. */
export interface DeliveryContext {
  /** The queue that it came from. */
  readonly queue: string;
  /** The channel that it came through. */
  readonly session: Session;
  /** The type of the queue, and the returns before the message is made a dead letter. */
  readonly settings: Pick<Settings, "queueType" | "maxDeliveries">;
  /** Sends a copy and waits for the confirmation. @throws The signal's reason, if it was not sent before. */
  send(queue: string, letter: Letter, options: Abortable & Pick<Patience, "bearsAlarm">): Promise<void>;
}

/**
 * One message in hand. To move it, a copy is published and confirmed before the original is acknowledged: a crash between both leaves two, never none.
 */
export class RabbitmqDelivery implements Delivery {
  readonly messageId: string;
  readonly body: Uint8Array;
  readonly attempt: number;
  readonly priority?: Priority;
  readonly traceparent?: string;
  readonly #message: Message;
  readonly #context: DeliveryContext;
  #answered = false;

  /** @param message As received. @param context Where from. */
  constructor(message: Message, context: DeliveryContext) {
    const { messageId, attempt, priority, traceparent } = readProperties(message.properties);
    this.messageId = messageId;
    this.body = new Uint8Array(message.content);
    this.attempt = attempt;
    if (priority !== undefined) this.priority = priority;
    if (traceparent !== undefined) this.traceparent = traceparent;
    this.#message = message;
    this.#context = context;
    context.session.hold(message);
  }

  get lost(): AbortSignal {
    return this.#context.session.lost;
  }

  /** Made when it is asked for: most who work on messages do not. */
  get publishedAt(): string | undefined {
    return publishedAtOf(this.#message.properties);
  }

  async acknowledge(effect: Effect = () => Promise.resolve()): Promise<void> {
    await this.#answer(effect);
  }

  async release(): Promise<void> {
    const { queue, settings: { queueType, maxDeliveries } } = this.#context;
    const { properties } = this.#message;
    // Returns tell which messages kill their consumers, and this is none: a quorum queue counts it, so that a fresh copy must count from zero now and
    // then; a classic queue only says that there was one, which a copy does not say.
    const copy = queueType === "classic" || deliveriesOf(properties) >= maxDeliveries / 2;
    if (copy && await this.#tryMoveTo(queue, { returns: returnsOf(properties) })) return;
    await this.handBack();
  }

  /** Hands it back to the very place that it had. RabbitMQ counts that. */
  async handBack(): Promise<void> {
    await this.#answer(() => Promise.resolve(), () => this.#context.session.handBack(this.#message));
  }

  async requeue(delayMs: number): Promise<void> {
    await this.#moveTo(delayQueueFor(this.#context.queue, delayMs), {}, BEARING);
  }

  async retry(delayMs: number): Promise<void> {
    await this.#moveTo(delayQueueFor(this.#context.queue, delayMs), { attempt: this.attempt + 1 }, BEARING);
  }

  async deadLetter(reason: string, errorClass?: string): Promise<void> {
    const death = { reason, ...(errorClass === undefined ? {} : { errorClass }), at: new Date().toISOString() };
    await this.#moveTo(queueNames(this.#context.queue).dead, { attempt: this.attempt, death }, BEARING);
  }

  /** Whether a classic queue gave it out before: its consumer may have died of it, which nobody else counts. */
  get returned(): boolean {
    return this.#context.settings.queueType === "classic" && this.#message.fields.redelivered;
  }

  /** Counts a return, and puts the message back behind the others or, when it returned too often, among the dead letters. */
  async countReturn(): Promise<void> {
    const { queue, settings } = this.#context;
    const returns = returnsOf(this.#message.properties) + 1;
    if (returns <= settings.maxDeliveries) return await this.#moveTo(queue, { returns });
    await this.deadLetter(`its consumers died with it, ${returns} times`);
  }

  /** @returns Whether the copy was confirmed; if not, the message is still in hand. @throws {QueueError} `delivery-lost`. */
  async #tryMoveTo(queue: string, change: Change): Promise<boolean> {
    try {
      await this.#moveTo(queue, change);
      return true;
    } catch (error) {
      if (error instanceof PublishError) return false;
      throw error;
    }
  }

  async #moveTo(queue: string, change: Change, patience: Pick<Patience, "bearsAlarm"> = {}): Promise<void> {
    const { messageId, body } = this;
    const properties = copied(this.#message.properties, change);
    await this.#answer(() =>
      this.#context.send(queue, { messageId, body, properties }, { ...patience, signal: this.lost })
    );
  }

  /** If what comes before fails, the message is still in hand and may be answered otherwise. */
  async #answer(
    before: () => Promise<void>,
    last: () => void | Promise<void> = () => this.#context.session.acknowledge(this.#message),
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
    await last();
  }
}
