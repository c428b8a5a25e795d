import type { Ledger, StudyKind } from "../database/mod.ts";
import { type Broker, encodeMessage, messageId, type Priority } from "../queue/mod.ts";

/** How {@linkcode publishStudies} reports. */
export interface PublishStudiesOptions {
  /** Ends it; what was published stays published and is not published again. */
  readonly signal?: AbortSignal;
  /** How urgent they are, 5 the most. @default {none: after all that have one} */
  readonly priority?: Priority;
  /** Called when studies were accepted by the queue. */
  readonly onPublished?: (queue: string, count: number) => void;
}

/** Messages between two marks in the ledger: at most so many are published twice after a crash, and the ledger absorbs them. */
const BATCH = 500;

/**
 * Publishes an extract's studies that no queue has accepted yet.
 *
 * @param ledger Knows them.
 * @param broker Has the queue, which was declared.
 * @param queue Its name.
 * @param kind What it is for.
 * @param extractId The extract.
 * @param options Signal and progress.
 * @returns How many the queue accepted.
 */
export async function publishStudies(
  ledger: Ledger,
  broker: Broker,
  queue: string,
  kind: StudyKind,
  extractId: number,
  options: PublishStudiesOptions = {},
): Promise<number> {
  const abort = options.signal === undefined ? {} : { signal: options.signal };
  const urgency = options.priority === undefined ? {} : { priority: options.priority };
  let count = 0;
  for await (const batch of batches(ledger.unpublished(extractId, kind, abort), BATCH)) {
    await broker.publish(
      queue,
      batch.map(({ id: _, ...study }) => ({ messageId: messageId(study), body: encodeMessage(study), ...urgency })),
      // The ledger absorbs what comes twice.
      { ...abort, retry: true },
    );
    await ledger.markPublished(kind, batch.map(({ id }) => id), abort);
    count += batch.length;
    options.onPublished?.(queue, batch.length);
  }
  return count;
}

async function* batches<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let batch: T[] = [];
  for await (const item of items) {
    batch.push(item);
    if (batch.length === size) {
      yield batch;
      batch = [];
    }
  }
  if (batch.length > 0) yield batch;
}
