import { abortable, deadline, delay } from "@std/async";
import type { OutgoingMessage, PublishOptions } from "../broker.ts";
import { PublishError, QueueError } from "../errors.ts";
import { checkOutgoing } from "../check_outgoing.ts";
import { queueError } from "./errors.ts";

type Source = Generator<OutgoingMessage, void> | AsyncGenerator<OutgoingMessage, void>;

type Messages = Iterable<OutgoingMessage> | AsyncIterable<OutgoingMessage>;

/** Most messages and bytes of a statement. */
const BATCH = 1_000;
const BATCH_BYTES = 4 << 20;

/** Pauses between two attempts, in milliseconds: the first, and the longest. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

/**
 * Publishes messages in batches, one after the other.
 *
 * @param insert Stores a batch, whole or not at all.
 * @returns How many were stored.
 * @throws {PublishError} With the ids of the batch that failed and of all after it.
 * @throws {RangeError} If `timeoutMs` is no time, or a message malformed: it and those read since the last batch are not stored.
 * @throws The signal's reason, or what the source throws; then the messages read since the last batch are not stored.
 */
export async function publishBatches(
  queue: string,
  messages: Messages,
  options: PublishOptions,
  insert: (batch: readonly OutgoingMessage[]) => Promise<void>,
): Promise<number> {
  const { signal, retry = false, timeoutMs = retry ? 300_000 : 30_000 } = options;
  if (!(timeoutMs > 0 && timeoutMs < 2 ** 31)) {
    throw new RangeError(
      `Cannot publish as 'timeoutMs' must be positive and below 2^31: current value is ${timeoutMs}`,
    );
  }
  const source = Symbol.asyncIterator in messages ? read(messages, signal) : readAtOnce(messages, signal);
  let stored = 0;
  for (let batch = await fill(source); batch.length > 0; batch = await fill(source)) {
    try {
      await store(() => insert(batch), timeoutMs, retry, signal === undefined ? {} : { signal });
    } catch (error) {
      if (signal?.aborted && error === signal.reason) {
        await source.return(undefined);
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

/** Stores a batch, again and again if `retry` says so and the database may come back. */
async function store(
  insert: () => Promise<void>,
  timeoutMs: number,
  retry: boolean,
  options: { readonly signal?: AbortSignal },
): Promise<void> {
  const end = performance.now() + timeoutMs;
  for (let pauseMs = FIRST_PAUSE_MS;; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    try {
      return await deadline(insert(), end - performance.now(), options);
    } catch (error) {
      const left = end - performance.now() - pauseMs;
      if (!retry || left <= 0 || options.signal?.aborted || !mayPass(error)) throw error;
    }
    await delay(pauseMs, options);
  }
}

function mayPass(error: unknown): boolean {
  const known = queueError("publish", error);
  return known instanceof QueueError && known.code === "broker-unreachable";
}

/** The next batch; empty at the end. */
async function fill(source: Source): Promise<OutgoingMessage[]> {
  const batch: OutgoingMessage[] = [];
  for (let bytes = 0; batch.length < BATCH && bytes < BATCH_BYTES;) {
    const next = source.next();
    // Nothing waits for a message that is at hand.
    const { done, value } = next instanceof Promise ? await next : next;
    if (done) break;
    try {
      checkOutgoing(value);
    } catch (error) {
      await source.return(undefined);
      throw error;
    }
    batch.push(value);
    bytes += value.body.length;
  }
  return batch;
}

/** Reads a source that has the next message at hand. */
function* readAtOnce(messages: Iterable<OutgoingMessage>, signal?: AbortSignal): Generator<OutgoingMessage, void> {
  for (const message of messages) {
    signal?.throwIfAborted();
    yield message;
  }
}

/** Reads a source that may fall silent: an abort ends the wait and closes the source, without waiting for it. */
async function* read(
  messages: AsyncIterable<OutgoingMessage>,
  signal?: AbortSignal,
): AsyncGenerator<OutgoingMessage, void> {
  const source = messages[Symbol.asyncIterator]();
  let done = false;
  try {
    while (!done) {
      const next = source.next();
      const result = await (signal === undefined ? next : abortable(next, signal));
      done = result.done ?? false;
      if (!result.done) yield result.value;
    }
  } catch (error) {
    // A source that threw has closed itself.
    done = !(signal?.aborted && error === signal.reason);
    throw error;
  } finally {
    if (!done) source.return?.()?.catch(() => {});
  }
}
