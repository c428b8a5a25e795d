import { deadline, delay } from "@std/async";
import type { Message } from "amqplib";
import type { Abortable, Delivery, Subscription } from "../broker.ts";
import type { QueueErrorCode } from "../errors.ts";
import type { Connection } from "./connection.ts";
import { RabbitmqDelivery } from "./delivery.ts";
import { closedFailure, isInUse, isMissing, operationFailure } from "./failure.ts";
import type { Publisher } from "./publisher.ts";
import { Session } from "./session.ts";
import { queueNames } from "./topology.ts";

/** Pauses between two looks into an empty queue, in milliseconds. */
const POLL_MS = { first: 20, last: 250 } as const;
/** In place of a consumer's tag. */
const NOBODY = "";
/** What does not pass by itself. */
const FATAL: readonly QueueErrorCode[] = ["queue-missing", "broker-refused", "closed"];
/** Pause between two tries to become the single active consumer, in milliseconds. */
const STAND_BY_MS = 500;
const GOODBYE_MS = 2_000;

interface Waiter {
  give(delivery: Delivery): void;
  fail(error: unknown): void;
}

/** How a subscription takes messages; see {@linkcode SubscribeOptions}. */
export interface Taking {
  readonly prefetch: number;
  readonly singleActive: boolean;
}

/**
 * Takes messages of one queue: with prefetch 0 by asking for each (basic.get), else as a consumer (basic.consume). A cut connection costs the messages
 * in hand, which go to others; then it carries on.
 */
export class RabbitmqSubscription implements Subscription {
  readonly #queue: string;
  readonly #prefetch: number;
  readonly #singleActive: boolean;
  readonly #connection: Connection;
  readonly #publisher: Publisher;
  readonly #onClosed: (subscription: RabbitmqSubscription) => void;
  readonly #waiters = new Set<Waiter>();
  readonly #closing = new AbortController();
  #ahead: RabbitmqDelivery[] = [];
  #session: Session | undefined;
  /** Of the consumers to cancel when nothing more is wanted. */
  #consumerTags: readonly string[] = [];
  #working = false;
  /** Whether it joins the consumers that are counted. */
  #counted = true;
  #worked: Promise<void> = Promise.resolve();
  /** Ends a pause between two tries; `undefined` when there is none. */
  #pause: AbortController | undefined;
  #closed: Promise<void> | undefined;

  /** @param connection The connection. @param publisher For copies. @param queue The queue. @param taking How. @param onClosed Called once. */
  constructor(
    connection: Connection,
    publisher: Publisher,
    queue: string,
    { prefetch, singleActive }: Taking,
    onClosed: (subscription: RabbitmqSubscription) => void,
  ) {
    this.#connection = connection;
    this.#publisher = publisher;
    this.#queue = queue;
    this.#prefetch = prefetch;
    this.#singleActive = singleActive;
    this.#onClosed = onClosed;
  }

  /** Makes sure that the queue is there and begins to consume, or stands by. @throws {QueueError} `queue-missing`, and what a connection throws. */
  async start(options: Abortable): Promise<void> {
    await this.#connection.withChannel(this.#queue, (channel) => channel.checkQueue(this.#queue), options);
    await this.#open(options);
  }

  next({ signal }: Abortable = {}): Promise<Delivery> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#closed !== undefined) return Promise.reject(closedFailure("The subscription"));
    const ahead = this.#ahead.shift();
    if (ahead !== undefined) return Promise.resolve(ahead);
    const { promise, resolve, reject } = Promise.withResolvers<Delivery>();
    const leave = () => {
      this.#waiters.delete(waiter);
      signal?.removeEventListener("abort", abort);
      if (this.#waiters.size === 0) this.#pause?.abort();
    };
    const waiter: Waiter = {
      give: (delivery) => {
        leave();
        resolve(delivery);
      },
      fail: (error) => {
        leave();
        reject(error);
      },
    };
    const abort = () => waiter.fail(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    this.#waiters.add(waiter);
    this.#work();
    return promise;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort(closedFailure("The subscription"));
    this.#failAll(this.#closing.signal.reason);
    await deadline(this.#handBackAhead(), GOODBYE_MS).catch(() => {});
    this.#session?.retire();
    this.#onClosed(this);
  }

  /** After the last question is answered and the consumer cancelled, nothing more comes in. */
  async #handBackAhead(): Promise<void> {
    await this.#worked;
    const session = this.#session;
    if (session !== undefined) {
      for (const tag of this.#consumerTags) await session.channel.cancel(tag);
    }
    await Promise.all(this.#ahead.splice(0).map(giveBack));
  }

  /** Starts the one loop that serves all who wait, unless it runs. */
  #work(): void {
    if (this.#working || (this.#prefetch > 0 && this.#session !== undefined)) return;
    this.#worked = this.#serve();
  }

  /** Ends when nobody waits, or when a consumer is there to serve them. Never rejects. */
  async #serve(): Promise<void> {
    this.#working = true;
    let pauseMs: number = POLL_MS.first;
    while (this.#waiters.size > 0) {
      try {
        const session = this.#session ?? await this.#open({});
        if (session === undefined) {
          pauseMs = STAND_BY_MS;
        } else if (this.#prefetch > 0) {
          if (this.#session === session) break;
        } else if (await this.#ask(session)) {
          pauseMs = POLL_MS.first;
          continue;
        }
      } catch (error) {
        this.#session?.end();
        const failure = operationFailure(error, this.#queue, this.#connection.settings);
        // Whoever may not connect now may be let in again: the connection tries, and says why it cannot.
        if (this.#connection.failure === undefined && FATAL.includes(failure.code)) {
          this.#failAll(failure);
          break;
        }
        pauseMs = POLL_MS.last;
      }
      if (this.#waiters.size === 0) break;
      this.#pause = new AbortController();
      await delay(pauseMs, { signal: this.#pause.signal }).catch(() => {});
      this.#pause = undefined;
      pauseMs = Math.min(pauseMs * 2, POLL_MS.last);
    }
    this.#working = false;
  }

  /** Without a time-out: a late answer still brings a message that must not be forgotten. The heartbeat ends a wait for nothing. */
  async #ask(session: Session): Promise<boolean> {
    const message = await session.channel.get(this.#queue);
    if (message !== false) await this.#offer(message, session);
    return message !== false;
  }

  /** @returns `undefined` while another consumer is the single active one. */
  async #open({ signal }: Abortable): Promise<Session | undefined> {
    const ended = { signal: AbortSignal.any([this.#closing.signal, ...(signal === undefined ? [] : [signal])]) };
    const session = new Session(await this.#connection.channel(ended), this.#connection);
    session.lost.addEventListener("abort", () => this.#lose(session), { once: true });
    try {
      const presence = this.#counted ? await this.#enter(session, ended) : NOBODY;
      if (presence === undefined) return undefined;
      const tags = this.#prefetch > 0 ? [await this.#consume(session, ended)] : [];
      if (this.#prefetch === 0) {
        await this.#connection.answer(session.channel.checkQueue(this.#queue), this.#queue, ended);
      }
      session.lost.throwIfAborted();
      // The single active one stays so until what it has in hand is answered.
      this.#consumerTags = this.#singleActive || presence === NOBODY ? tags : [...tags, presence];
    } catch (error) {
      session.end();
      throw error;
    }
    this.#session = session;
    return session;
  }

  /**
   * Joins the consumers of the queue, who are counted; a single active one to the exclusion of all others.
   *
   * @returns The consumer's tag; `undefined` if it is to be tried again, on another channel: another is there that excludes this one, or is excluded by
   * it, or the queue of the consumers is gone, which only the single active one needs.
   */
  async #enter(session: Session, options: Abortable): Promise<string | undefined> {
    const { consumers } = queueNames(this.#queue);
    const leave = () => session.end();
    const joining = session.channel.consume(consumers, (message) => message === null && leave(), {
      noAck: true,
      exclusive: this.#singleActive,
    });
    try {
      return (await this.#connection.answer(joining, consumers, options)).consumerTag;
    } catch (error) {
      if (isMissing(error) && !this.#singleActive) this.#counted = false;
      else if (!isInUse(error)) throw error;
      session.end();
      return undefined;
    }
  }

  /** amqplib closes the whole connection if the callback throws, so it must not; it gets `null` when the queue was deleted. */
  async #consume(session: Session, options: Abortable): Promise<string> {
    const { channel } = session;
    const consuming = async () => {
      // Not global: RabbitMQ has no such thing for quorum queues, and version 4.3 for none.
      await channel.prefetch(this.#prefetch, false);
      return await channel.consume(
        this.#queue,
        (message) => message === null ? session.end() : void this.#offer(message, session),
      );
    };
    return (await this.#connection.answer(consuming(), this.#queue, options)).consumerTag;
  }

  /** Never rejects. */
  async #offer(message: Message, session: Session): Promise<void> {
    const delivery = new RabbitmqDelivery(message, {
      queue: this.#queue,
      session,
      settings: this.#connection.settings,
      send: (queue, letter, options) => this.#publisher.send(queue, letter, options),
    });
    if (delivery.returned) return await delivery.countReturn().catch(() => giveBack(delivery));
    const [waiter] = this.#waiters;
    if (waiter !== undefined) waiter.give(delivery);
    else if (this.#prefetch > 0) this.#ahead.push(delivery);
    else await giveBack(delivery);
  }

  #lose(session: Session): void {
    this.#ahead = this.#ahead.filter((delivery) => !delivery.lost.aborted);
    if (this.#session !== session) return;
    this.#session = undefined;
    this.#consumerTags = [];
    if (this.#waiters.size > 0) this.#work();
  }

  #failAll(error: unknown): void {
    for (const waiter of [...this.#waiters]) waiter.fail(error);
  }
}

/** If that fails, the channel is closed and RabbitMQ takes it back. */
async function giveBack(delivery: Delivery): Promise<void> {
  await delivery.release().catch(() => {});
}
