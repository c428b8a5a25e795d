import type { StudyMessage } from "./message.ts";

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
