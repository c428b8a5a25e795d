import { abortable, deadline, delay } from "@std/async";
import type { OutgoingMessage, PublishOptions } from "../broker.ts";
import { PublishError, QueueError } from "../errors.ts";
import { checkOutgoing } from "../check_outgoing.ts";
import { queueError } from "./errors.ts";

type Messages = Iterable<OutgoingMessage> | AsyncIterable<OutgoingMessage>;

/** Most messages and bytes of a statement. */
const BATCH = 1_000;
const BATCH_BYTES = 4 << 20;

/** What a slow source has given is stored after so long, in milliseconds. */
const LINGER_MS = 50;

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
  const source = new Source(messages, signal);
  let stored = 0;
  for (let batch = await fill(source); batch.length > 0; batch = await fill(source)) {
    try {
      await store(() => insert(batch), timeoutMs, retry, signal === undefined ? {} : { signal });
    } catch (error) {
      if (signal?.aborted && error === signal.reason) {
        await source.close();
        throw error;
      }
      const lost = batch.map(({ messageId }) => messageId);
      for (let next = await source.next(); !next.done; next = await source.next()) lost.push(next.value.messageId);
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
      return await deadline(insert(), Math.max(end - performance.now(), 1), options);
    } catch (error) {
      if (!retry || options.signal?.aborted || !mayPass(error)) throw error;
      await delay(pauseMs, options);
      if (performance.now() >= end) throw error;
    }
  }
}

function mayPass(error: unknown): boolean {
  const known = queueError("publish", error);
  return known instanceof QueueError && known.code === "broker-unreachable";
}

/** The next batch, when it is full, at the end, or when the source pauses; empty at the end. */
async function fill(source: Source): Promise<OutgoingMessage[]> {
  const batch: OutgoingMessage[] = [];
  const late = Promise.withResolvers<undefined>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    for (let bytes = 0; batch.length < BATCH && bytes < BATCH_BYTES;) {
      if (source.mayPause && batch.length > 0) {
        timer ??= setTimeout(() => late.resolve(undefined), LINGER_MS);
        if (await Promise.race([source.peek(), late.promise]) === undefined) break;
      }
      const next = source.next();
      // Nothing waits for a message that is at hand.
      const { done, value } = next instanceof Promise ? await next : next;
      if (done) break;
      try {
        checkOutgoing(value);
      } catch (error) {
        await source.close();
        throw error;
      }
      batch.push(value);
      bytes += value.body.length;
    }
    return batch;
  } finally {
    clearTimeout(timer);
  }
}

type Result = IteratorResult<OutgoingMessage, void>;

/** The messages, one after the other. */
class Source {
  /** Whether the next message may take its time. */
  readonly mayPause: boolean;
  readonly #reader: Generator<OutgoingMessage, void> | AsyncGenerator<OutgoingMessage, void>;
  #peeked: Promise<Result> | undefined;

  constructor(messages: Messages, signal: AbortSignal | undefined) {
    this.mayPause = Symbol.asyncIterator in messages;
    this.#reader = Symbol.asyncIterator in messages ? read(messages, signal) : readAtOnce(messages, signal);
  }

  next(): Result | Promise<Result> {
    const next = this.#peeked ?? this.#reader.next();
    this.#peeked = undefined;
    return next;
  }

  /** What `next()` will give. */
  async peek(): Promise<Result> {
    this.#peeked ??= Promise.resolve(this.#reader.next());
    // Whoever takes it sees what went wrong.
    this.#peeked.catch(() => {});
    return await this.#peeked;
  }

  async close(): Promise<void> {
    await this.#reader.return(undefined);
  }
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
