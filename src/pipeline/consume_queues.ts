import type { Ledger, SharedRate, StudyKind } from "../database/mod.ts";
import { type Broker, consume, type Consumer, type ConsumerCounts, type StudyMessage } from "../queue/mod.ts";
import { openQueueRate } from "./queue_rate.ts";
import { studyHandler } from "./study_handler.ts";
import type { StudyService } from "./study_service.ts";

/** A queue's studies: what is asked for, and whom. */
export interface QueueService {
  readonly kind: StudyKind;
  readonly service: StudyService;
}

/** How {@linkcode consumeQueues} works. */
export interface ConsumeQueuesOptions {
  /** The tokens of a queue, which all that consume it share. */
  readonly rateOf: (queue: string) => SharedRate;
  /** Names this process in the ledger; unique among all that run. */
  readonly owner: string;
  /** Most studies of a queue in hand at once. @default {5} */
  readonly concurrency?: number;
  /** Attempts before a message goes to the dead-letter queue. @default {5} */
  readonly maxAttempts?: number;
  /** Working time allowed to one call of a service, in milliseconds. @default {240_000} */
  readonly handlerTimeoutMs?: number;
  /** Time allowed to what is in hand at a stop, in milliseconds. @default {30_000} */
  readonly graceMs?: number;
  /** Whether only one process at a time takes messages of a queue; see {@linkcode ConsumeOptions}. @default {false} */
  readonly singleActive?: boolean;
  /** Ends when every queue is empty, instead of waiting for more. @default {false} */
  readonly untilEmpty?: boolean;
  /** Stops it: nothing new is taken, what is in hand is finished or handed back. Not an error. */
  readonly signal?: AbortSignal;
  /** Called when something became of a message. */
  readonly onOutcome?: (queue: string, outcome: keyof ConsumerCounts) => void;
}

/**
 * Works through queues, each at its own rate, until stopped or, if wished, until all are empty.
 *
 * @param ledger Has the state and the replies of every study.
 * @param broker Has the queues.
 * @param services Whom to ask, by queue.
 * @param options Pace, attempts and end.
 * @returns What became of the messages, by queue.
 */
export async function consumeQueues(
  ledger: Ledger,
  broker: Broker,
  services: ReadonlyMap<string, QueueService>,
  options: ConsumeQueuesOptions,
): Promise<Record<string, ConsumerCounts>> {
  const { untilEmpty = false, signal } = options;

  const stopped = new AbortController();
  const stop = signal === undefined ? stopped.signal : AbortSignal.any([stopped.signal, signal]);
  const runs = await Promise.allSettled([...services].map(async ([queue, service]) => {
    try {
      return [queue, await consumeQueue(queue, service)] as const;
    } catch (error) {
      stopped.abort(error);
      throw error;
    }
  }));
  // Only now, when no other queue has anything in hand.
  const failed = runs.find((run) => run.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  return Object.fromEntries(runs.flatMap((run) => run.status === "fulfilled" ? [run.value] : []));

  async function consumeQueue(queue: string, { kind, service }: QueueService): Promise<ConsumerCounts> {
    await broker.declare(queue);
    await using rate = await openQueueRate(options.rateOf(queue), { signal: stop });
    const { concurrency, maxAttempts, handlerTimeoutMs, graceMs, singleActive = false, onOutcome } = options;
    const consumer: Consumer = await consume(
      broker,
      queue,
      studyHandler(ledger, kind, service, { owner: options.owner }),
      {
        limiter: rate.bucket,
        singleActive,
        ...(concurrency === undefined ? {} : { concurrency }),
        ...(maxAttempts === undefined ? {} : { maxAttempts }),
        ...(handlerTimeoutMs === undefined ? {} : { handlerTimeoutMs }),
        ...(onOutcome === undefined ? {} : { onOutcome: (outcome) => onOutcome(queue, outcome) }),
        onDeadLetter: async (message: StudyMessage | undefined, reason: string) => {
          if (message !== undefined) await ledger.fail(kind, message, reason);
        },
      },
    );
    const stopping = () => void consumer.stop(graceMs === undefined ? {} : { graceMs }).catch(() => {});
    stop.addEventListener("abort", stopping, { once: true });
    if (stop.aborted) stopping();
    try {
      await Promise.race([
        consumer.finished,
        untilEmpty ? consumer.idle({ signal: stop }).catch(ignoreStop) : consumer.finished,
      ]);
    } finally {
      stop.removeEventListener("abort", stopping);
      await consumer.stop(graceMs === undefined ? {} : { graceMs });
    }
    const { done, retried, requeued, dead, returned } = consumer.stats;
    return { done, retried, requeued, dead, returned };
  }

  function ignoreStop(error: unknown): void {
    if (!stop.aborted) throw error;
  }
}
