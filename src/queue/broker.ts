import type postgres from "postgres";

/** How urgent a message is, from 1 to 5, the most urgent; messages that say nothing come last. */
export type Priority = 1 | 2 | 3 | 4 | 5;

/** A message on its way out. */
export interface OutgoingMessage {
  /** Identifies the message in logs and reports; see {@linkcode messageId}. */
  readonly messageId: string;
  /** UTF-8 JSON. */
  readonly body: Uint8Array;
  /**
   * What is more urgent is taken first: by {@linkcode PostgresBroker} and by classic queues of RabbitMQ. Quorum queues know two degrees, 5 and less,
   * from RabbitMQ 4.0, and none before (https://www.rabbitmq.com/docs/quorum-queues#priorities). @default {none}
   */
  readonly priority?: Priority;
  /** Joins the message to a trace, as W3C Trace Context writes it; handed on to handlers. @default {none} */
  readonly traceparent?: string;
  /** The attempt that it is, for a message that was drained. @default {1} */
  readonly attempt?: number;
}

/** Stops a call: the promise rejects with the signal's reason. */
export interface Abortable {
  /** Aborts the call. */
  readonly signal?: AbortSignal;
}

/** How messages are published. */
export interface PublishOptions extends Abortable {
  /** Time allowed for the broker to confirm a message, in milliseconds, with `retry` all its attempts together. @default {30_000, with `retry` 300_000} */
  readonly timeoutMs?: number;
  /**
   * Sends a message again that the broker refused or whose confirmation was lost with the connection. It may then be on the queue twice, and behind
   * those that were published after it. @default {false}
   */
  readonly retry?: boolean;
}

/** How many messages there are, by what keeps them. */
export interface QueueDepth {
  /** Waiting to be taken. */
  readonly ready: number;
  /** Waiting for their next attempt. */
  readonly delayed: number;
  /** Taken and not yet answered; `undefined` where the broker does not tell (RabbitMQ, without its management plugin). */
  readonly inHand: number | undefined;
  /** In the dead-letter queue. */
  readonly dead: number;
  /** Subscriptions of the queue, in all processes; in RabbitMQ without those that stand by for a single active one. */
  readonly consumers: number;
}

/** Why a message is a dead letter. */
export interface Death {
  /** Without identifiers. */
  readonly reason: string;
  /** The class, or for an error of this project the code, of the last error, where one was thrown. */
  readonly errorClass?: string;
  /** When it died, ISO 8601 in UTC. */
  readonly at: string;
}

/** A message as the broker keeps it. */
export interface KeptMessage {
  /** As published; the empty string if the publisher gave none. */
  readonly messageId: string;
  /** As published: not yet validated. */
  readonly body: Uint8Array;
  /** The attempt that comes next, or that was the last of a dead letter; from 1. */
  readonly attempt: number;
  /** As published. */
  readonly priority?: Priority;
  /** As published; absent where it was none of version 00. */
  readonly traceparent?: string;
  /** When it was published, ISO 8601 in UTC; absent where the publisher did not say. */
  readonly publishedAt?: string | undefined;
  /** Of a dead letter: why it is one. */
  readonly death?: Death;
}

/**
 * What becomes of a message that was looked at: it stays where it was, is deleted, or waits again as a first attempt. What stays in a classic queue of
 * RabbitMQ may come behind the others.
 */
export type Verdict = "keep" | "delete" | "requeue";

/** How {@linkcode Broker.walk} goes. */
export interface WalkOptions extends Abortable {
  /** Most messages of one visit. @default {500} */
  readonly batch?: number;
}

/** A transaction of {@link https://github.com/porsager/postgres | postgres.js}. */
export type Transaction = postgres.TransactionSql;

/**
 * What is to happen together with an acknowledgement: in its transaction where the queue is a table in PostgreSQL, before it otherwise.
 *
 * @param transaction To be used for every statement, while nothing else is waited for: the message is not lost meanwhile, but the embedded database
 * lets nobody else in. Absent where the queue is no table.
 */
export type Effect = (transaction?: Transaction) => Promise<void>;

/**
 * One message in hand, its body not yet validated. One of its five methods answers it, once; where that rejects and the message is not lost, another may be tried.
 *
 * @throws {QueueError} `delivery-lost` by each of them if the broker may have given the message to another consumer meanwhile.
 */
export interface Delivery extends KeptMessage {
  /** Aborts when the message is no longer ours: connection gone or lease taken over. What is being done should stop. */
  readonly lost: AbortSignal;
  /**
   * Done: the broker forgets the message.
   *
   * @param effect Happens with it, or neither does. If it rejects, the message is still in hand.
   */
  acknowledge(effect?: Effect): Promise<void>;
  /** Hands it back untouched, for anyone to take at once. Not counted as an attempt. If it rejects, the message is lost and comes back by itself, perhaps as the next attempt. */
  release(): Promise<void>;
  /** Puts it back for later. Not counted as an attempt. @param delayMs At least so many milliseconds, up to the broker's longest delay. */
  requeue(delayMs: number): Promise<void>;
  /** Puts it back for later as the next attempt. @param delayMs As in `requeue`. */
  retry(delayMs: number): Promise<void>;
  /** Moves it to the dead-letter queue. @param reason A short text without identifiers. @param errorClass See {@linkcode Death}. */
  deadLetter(reason: string, errorClass?: string): Promise<void>;
}

/** How messages are taken. */
export interface SubscribeOptions extends Abortable {
  /**
   * Messages that the broker may send ahead. With 0 a message leaves the broker only when `next()` asks for one, which a rate limit needs: nothing
   * is held without a token. Otherwise at least the number that is worked on at once: RabbitMQ counts those in hand too, PostgreSQL those ahead alone.
   * After a cut all of them come again. @default {0}
   */
  readonly prefetch?: number;
  /**
   * Of all subscriptions that ask for this only one takes messages at a time; the next begins when that one was closed or its process is gone.
   * Every consumer of the queue must ask for it. @default {false}
   */
  readonly singleActive?: boolean;
}

/** A place in the line for messages of one queue. Closing it hands back what was sent ahead and not yet given out by `next()`. */
export interface Subscription extends AsyncDisposable {
  /**
   * Waits for the next message. May be called several times at once.
   *
   * @throws The signal's reason if aborted: then no message is taken.
   * @throws {QueueError} If the subscription was closed or the queue is gone.
   */
  next(options?: Abortable): Promise<Delivery>;
}

/**
 * What the project needs of a message broker. A message that was accepted is never lost; it is delivered at least once.
 *
 * Implementations: {@linkcode RabbitmqBroker} (quorum queues) and {@linkcode PostgresBroker} (a table, on a server or embedded). One conformance
 * suite holds both to this contract.
 */
export interface Broker extends AsyncDisposable {
  /** Makes the queue, its delay queues and its dead-letter queue if they are not there. Every other method needs that this was called once. */
  declare(queue: string, options?: Abortable): Promise<void>;
  /**
   * Publishes messages and resolves with their number once the broker has accepted every one (on disk, not only in a socket).
   *
   * The order is kept. What is taken from the source is either counted or listed: if the broker is lost, the rest is still read from the source, to be
   * listed. If the signal aborts or the source throws, what is under way may be on the queue or not.
   *
   * @throws {PublishError} If some were not accepted: `unconfirmed` has their ids. They may be on the queue all the same.
   */
  publish(
    queue: string,
    messages: Iterable<OutgoingMessage> | AsyncIterable<OutgoingMessage>,
    options?: PublishOptions,
  ): Promise<number>;
  /** Starts taking messages. */
  subscribe(queue: string, options?: SubscribeOptions): Promise<Subscription>;
  /** Counts. */
  depth(queue: string, options?: Abortable): Promise<QueueDepth>;
  /**
   * How long the message has waited that is taken next.
   *
   * @returns Milliseconds since it was published; `undefined` if none is ready, if its publisher did not say when, or if the broker does not show it (a
   * classic queue of RabbitMQ).
   */
  age(queue: string, options?: Abortable): Promise<number | undefined>;
  /** Deletes every message that waits, not those in hand nor the dead letters. @returns Their number. */
  purge(queue: string, options?: Abortable): Promise<number>;
  /**
   * Shows the messages that wait (delayed ones too) or the dead letters, oldest first, once each, and does with each what the visitor says. Meanwhile
   * nobody else can take what was shown. What comes in meanwhile may be missed. If the visitor rejects, what it was shown last is kept.
   *
   * @param place Which messages.
   * @param visit Looks at a batch. @returns A verdict for each, in order; `requeue` also makes a delayed one ready.
   * @returns How many were shown.
   */
  walk(
    queue: string,
    place: "waiting" | "dead",
    visit: (batch: readonly KeptMessage[]) => Promise<readonly Verdict[]>,
    options?: WalkOptions,
  ): Promise<number>;
}
