import type { Channel } from "amqplib";
import type { Settings } from "./options.ts";

/** Steps of the delay in milliseconds, times four each. A delay is rounded up to the next, and down to the last. */
export const DELAYS_MS = [250, 1_000, 4_000, 16_000, 64_000, 256_000] as const;

/** More returns than any reader of dead letters makes. RabbitMQ 4 drops a message after 20 where no limit is given. */
const NO_LIMIT = 1_000_000_000;
/** AMQP names have at most 255 bytes, and the longest of our endings has 13. */
const MAX_NAME_BYTES = 240;
/** As the Python PIXL declares it: any other number would clash. */
const MAX_PRIORITY = 5;

/** The queues behind one name. */
export interface QueueNames {
  /** Where messages wait to be taken. */
  readonly main: string;
  /** Where they wait for their next attempt: a queue for each of {@linkcode DELAYS_MS}. */
  readonly delays: readonly string[];
  /** Where dead letters stay. */
  readonly dead: string;
  /** Always empty: each subscription consumes it too, so that RabbitMQ counts them, those also that ask for one message at a time. */
  readonly consumers: string;
}

/**
 * @param queue The name that the caller uses.
 * @returns The names behind it.
 * @throws {RangeError} If RabbitMQ takes no such name.
 */
export function queueNames(queue: string): QueueNames {
  const bytes = new TextEncoder().encode(queue).length;
  if (bytes === 0 || bytes > MAX_NAME_BYTES || queue.startsWith("amq.")) {
    throw new RangeError(
      `Cannot use '${queue}' as a queue name: it must have 1 to ${MAX_NAME_BYTES} bytes and not begin with 'amq.'`,
    );
  }
  return {
    main: queue,
    delays: DELAYS_MS.map((ms) => delayQueue(queue, ms)),
    dead: `${queue}.dead`,
    consumers: `${queue}.consumers`,
  };
}

/**
 * @param queue The name that the caller uses.
 * @param delayMs The least time, in milliseconds.
 * @returns The delay queue with the next longer time, or the longest there is.
 * @throws {RangeError} If the delay is not a finite number ≥ 0.
 */
export function delayQueueFor(queue: string, delayMs: number): string {
  if (!(delayMs >= 0 && Number.isFinite(delayMs))) {
    throw new RangeError(
      `Cannot delay a message as 'delayMs' must be a finite number of at least 0: current value is ${delayMs}`,
    );
  }
  return delayQueue(queue, DELAYS_MS.find((step) => step >= delayMs) ?? 256_000);
}

/**
 * Declares the queues behind one name, targets first.
 *
 * Quorum queues, the default, are replicated, count how often a message came back, and hand on to another queue only what that has on disk
 * (at-least-once dead lettering, which needs `reject-publish`). Classic queues do none of this; the main one has the very arguments that the Python
 * PIXL declares, so that both can use it. Every queue is durable, and its type is always said, since a server may have another default: RabbitMQ 4.3
 * refuses queues that are neither durable nor exclusive, and version 4 limits quorum queues that give no limit to 20 deliveries
 * (https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling).
 *
 * The time is a delay queue's, not a message's: RabbitMQ only looks at the head of a queue, so a message with a long time of its own would hold up
 * those behind it.
 *
 * @param channel Closed by the broker if a queue exists with other arguments.
 * @param names From {@linkcode queueNames}.
 * @param settings The type of the queues, and the returns before the broker makes a dead letter of a message.
 */
export async function declareQueues(
  channel: Channel,
  { main, dead, consumers }: QueueNames,
  { queueType, maxDeliveries }: Pick<Settings, "queueType" | "maxDeliveries">,
): Promise<void> {
  const quorum = queueType === "quorum";
  const declare = async (name: string, type: "quorum" | "classic", more: Record<string, unknown>) => {
    await channel.assertQueue(name, { durable: true, arguments: { "x-queue-type": type, ...more } });
  };
  await declare(dead, queueType, quorum ? { "x-delivery-limit": NO_LIMIT } : {});
  await declare(
    main,
    queueType,
    quorum ? { "x-delivery-limit": maxDeliveries, ...handingOnTo(dead, true) } : { "x-max-priority": MAX_PRIORITY },
  );
  for (const ms of DELAYS_MS) {
    const limit = quorum ? { "x-delivery-limit": NO_LIMIT } : {};
    await declare(delayQueue(main, ms), queueType, { "x-message-ttl": ms, ...limit, ...handingOnTo(main, quorum) });
  }
  // Only a classic queue can have a consumer to the exclusion of others.
  await declare(consumers, "classic", {});
}

function handingOnTo(queue: string, quorum: boolean): Record<string, unknown> {
  return {
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": queue,
    ...(quorum ? { "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish" } : {}),
  };
}

function delayQueue(queue: string, ms: number): string {
  return `${queue}.delay.${ms}`;
}
