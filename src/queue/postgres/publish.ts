import { abortable, deadline } from "@std/async";
import type { OutgoingMessage, PublishOptions } from "../broker.ts";
import { PublishError } from "../errors.ts";
import { queueError } from "./errors.ts";

type Messages = Iterable<OutgoingMessage> | AsyncIterable<OutgoingMessage>;

/** Most messages and bytes of a statement. */
const BATCH = 1_000;
const BATCH_BYTES = 4 << 20;

/**
 * Publishes messages in batches, one after the other.
 *
 * @param insert Stores a batch, whole or not at all.
 * @returns How many were stored.
 * @throws {PublishError} With the ids of the batch that failed and of all after it.
 * @throws The signal's reason, or what the source throws; then the messages read since the last batch are not stored.
 */
export async function publishBatches(
  queue: string,
  messages: Messages,
  { signal, timeoutMs = 30_000 }: PublishOptions,
  insert: (batch: readonly OutgoingMessage[]) => Promise<void>,
): Promise<number> {
  const source = read(messages, signal);
  let stored = 0;
  for (let batch = await fill(source); batch.length > 0; batch = await fill(source)) {
    try {
      await deadline(insert(batch), timeoutMs, signal === undefined ? {} : { signal });
    } catch (error) {
      if (signal?.aborted && error === signal.reason) {
        await source.return();
        throw error;
      }
      const lost = batch.map(({ messageId }) => messageId);
      for await (const { messageId } of source) lost.push(messageId);
      throw new PublishError(queue, lost, stored, { cause: queueError(`publish to the queue '${queue}'`, error) });
    }
    stored += batch.length;
  }
  return stored;
}

/** The next batch; empty at the end. */
async function fill(source: AsyncIterator<OutgoingMessage>): Promise<OutgoingMessage[]> {
  const batch: OutgoingMessage[] = [];
  for (let bytes = 0; batch.length < BATCH && bytes < BATCH_BYTES;) {
    const { done, value } = await source.next();
    if (done) break;
    bytes += value.body.length;
    batch.push(value);
  }
  return batch;
}

/** Reads a source that may fall silent: an abort ends the wait and closes the source, without waiting for it. */
async function* read(messages: Messages, signal?: AbortSignal): AsyncGenerator<OutgoingMessage, void> {
  const source = Symbol.asyncIterator in messages ? messages[Symbol.asyncIterator]() : messages[Symbol.iterator]();
  let done = false;
  try {
    while (!done) {
      const next = Promise.resolve(source.next());
      const result = await (signal === undefined ? next : abortable(next, signal));
      done = result.done ?? false;
      if (!result.done) yield result.value;
    }
  } catch (error) {
    // A source that threw has closed itself.
    done = !(signal?.aborted && error === signal.reason);
    throw error;
  } finally {
    if (!done) Promise.resolve(source.return?.()).catch(() => {});
  }
}
