/** A message on its way out. */
export interface OutgoingMessage {
  /** Identifies the message in logs and reports; see {@linkcode messageId}. */
  readonly messageId: string;
  /** UTF-8 JSON. */
  readonly body: Uint8Array;
}

/** Stops a call: the promise rejects with the signal's reason. */
export interface Abortable {
  /** Aborts the call. */
  readonly signal?: AbortSignal;
}

/** How messages are published. */
export interface PublishOptions extends Abortable {
  /** Time allowed for the broker to confirm a message, in milliseconds. @default {30_000} */
  readonly timeoutMs?: number;
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
}

/**
 * One message in hand. One of its five methods answers it, once; where that rejects and the message is not lost, another may be tried.
 *
 * @throws {QueueError} `delivery-lost` by each of them if the broker may have given the message to another consumer meanwhile.
 */
export interface Delivery {
  /** As published; the empty string if the publisher gave none. */
  readonly messageId: string;
  /** As published: not yet validated. */
  readonly body: Uint8Array;
  /** 1 for the first attempt. */
  readonly attempt: number;
  /** Aborts when the message is no longer ours: connection gone or lease taken over. What is being done should stop. */
  readonly lost: AbortSignal;
  /** Done: the broker forgets the message. */
  acknowledge(): Promise<void>;
  /** Hands it back untouched, for anyone to take at once. Not counted as an attempt. */
  release(): Promise<void>;
  /** Puts it back for later. Not counted as an attempt. @param delayMs At least so many milliseconds, up to the broker's longest delay. */
  requeue(delayMs: number): Promise<void>;
  /** Puts it back for later as the next attempt. @param delayMs As in `requeue`. */
  retry(delayMs: number): Promise<void>;
  /** Moves it to the dead-letter queue. @param reason A short text without identifiers, kept with the message. */
  deadLetter(reason: string): Promise<void>;
}

/** How messages are taken. */
export interface SubscribeOptions extends Abortable {
  /**
   * Messages that the broker may send ahead. With 0 a message leaves the broker only when `next()` asks for one, which a rate limit needs: nothing
   * is held without a token. Otherwise at least the number that is worked on at once: RabbitMQ counts those in hand too. @default {0}
   */
  readonly prefetch?: number;
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
  /** Deletes every message that waits, not those in hand nor the dead letters. @returns Their number. */
  purge(queue: string, options?: Abortable): Promise<number>;
}
