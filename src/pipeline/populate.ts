import type { Ledger, StudyKind } from "../database/mod.ts";
import type { OmopExtract } from "../exports/mod.ts";
import { type Broker, encodeMessage, messageId } from "../queue/mod.ts";

/** How {@linkcode populate} reports. */
export interface PopulateOptions {
  /** Ends it; what was published stays published and is not published again. */
  readonly signal?: AbortSignal;
  /**
   * Also publishes studies that failed, and those whose message a queue accepted before and nobody has finished: after a queue was lost or what made
   * studies fail was mended. A study that is asked for twice has its effect once. @default {false}
   */
  readonly again?: boolean;
  /** Called when studies were accepted by a queue. */
  readonly onPublished?: (queue: string, count: number) => void;
}

/** What {@linkcode populate} did. */
export interface PopulateResult {
  /** Studies of the extract that can be asked for. */
  readonly studies: number;
  /** Of these, new to their project. */
  readonly added: number;
  /** Of these, already at the Data Safe Haven. */
  readonly exported: number;
  /** Messages that each queue accepted. */
  readonly published: Readonly<Record<string, number>>;
}

/** Messages between two marks in the ledger: at most so many are published twice after a crash, and the ledger absorbs them. */
const BATCH = 500;

/**
 * Registers an extract's studies in the ledger and publishes those that no queue has accepted yet. Running it again publishes nothing twice.
 *
 * @param extract The studies that are wanted.
 * @param ledger Remembers them.
 * @param broker Has the queues.
 * @param queues The queues to fill, and what each is for; one for images and one for reports at most.
 * @param options Signal and progress.
 * @returns Counts.
 */
export async function populate(
  extract: OmopExtract,
  ledger: Ledger,
  broker: Broker,
  queues: ReadonlyMap<string, StudyKind>,
  options: PopulateOptions = {},
): Promise<PopulateResult> {
  const { signal, onPublished } = options;
  const abort = signal === undefined ? {} : { signal };
  for (const queue of queues.keys()) await broker.declare(queue, abort);
  const { extractId } = await ledger.registerExtract({
    project_name: extract.projectName,
    project_slug: extract.projectSlug,
    extract_time: extract.extractTime,
    time_slug: extract.timeSlug,
  }, abort);
  const registered = await ledger.registerStudies(extractId, extract.studies(abort), abort);
  const published: Record<string, number> = {};
  for (const [queue, kind] of queues) {
    if (options.again) await ledger.republish(kind, extractId, abort);
    published[queue] = await publishTo(queue, kind, extractId);
  }
  return {
    studies: registered.added + registered.known + registered.exported,
    added: registered.added,
    exported: registered.exported,
    published,
  };

  async function publishTo(queue: string, kind: StudyKind, extractId: number): Promise<number> {
    let count = 0;
    for await (const batch of batches(ledger.unpublished(extractId, kind, abort), BATCH)) {
      await broker.publish(
        queue,
        batch.map(({ id: _, ...study }) => ({ messageId: messageId(study), body: encodeMessage(study) })),
        abort,
      );
      await ledger.markPublished(kind, batch.map(({ id }) => id), abort);
      count += batch.length;
      onPublished?.(queue, batch.length);
    }
    return count;
  }
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
