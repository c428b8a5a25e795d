import type { Broker, KeptMessage, Verdict, WalkOptions } from "./broker.ts";

/** Which dead letters are meant: all, those with a message id, or those whose reason holds a text. */
export type DeadLetterSelection =
  | { readonly all: true }
  | { readonly messageId: string }
  | { readonly reason: string };

/** How {@linkcode retryDeadLetters} and {@linkcode dropDeadLetters} go. */
export interface DeadLetterOptions extends WalkOptions {
  /** Called with those of each batch that are meant, before anything becomes of them. If it rejects, nothing does. */
  readonly before?: (letters: readonly KeptMessage[]) => Promise<void>;
}

/**
 * Lists dead letters, oldest first, as the broker gives them: no more than two batches are in memory.
 *
 * @param broker Where the queue is; it was declared there.
 * @param queue The queue's name.
 * @param selection Which.
 * @param options Batches and signal.
 * @throws {QueueError} If the broker fails.
 */
export async function* listDeadLetters(
  broker: Broker,
  queue: string,
  selection: DeadLetterSelection = { all: true },
  options: WalkOptions = {},
): AsyncGenerator<KeptMessage, void> {
  const batches = new TransformStream<KeptMessage[], KeptMessage[]>();
  const writer = batches.writable.getWriter();
  const walk = async () => {
    await broker.walk(queue, "dead", async (batch) => {
      await writer.write(batch.filter((letter) => isMeant(letter, selection)));
      return batch.map(() => "keep");
    }, options);
    await writer.close();
  };
  // Whoever reads sees the failure; one that comes of the reader having enough is none.
  const walking = walk().catch((error: unknown) => writer.abort(error).catch(() => {}));
  try {
    for await (const batch of batches.readable) yield* batch;
  } finally {
    await walking;
  }
}

/**
 * Puts dead letters on their queue again, as first attempts.
 *
 * @param broker Where the queue is; it was declared there.
 * @param queue The queue's name.
 * @param selection Which.
 * @param options Batches and signal.
 * @returns How many.
 * @throws {QueueError} If the broker fails.
 */
export function retryDeadLetters(
  broker: Broker,
  queue: string,
  selection: DeadLetterSelection,
  options: DeadLetterOptions = {},
): Promise<number> {
  return settle(broker, queue, selection, "requeue", options);
}

/**
 * Deletes dead letters for good.
 *
 * @param broker Where the queue is; it was declared there.
 * @param queue The queue's name.
 * @param selection Which.
 * @param options Batches and signal.
 * @returns How many.
 * @throws {QueueError} If the broker fails.
 */
export function dropDeadLetters(
  broker: Broker,
  queue: string,
  selection: DeadLetterSelection,
  options: DeadLetterOptions = {},
): Promise<number> {
  return settle(broker, queue, selection, "delete", options);
}

async function settle(
  broker: Broker,
  queue: string,
  selection: DeadLetterSelection,
  verdict: Verdict,
  options: DeadLetterOptions,
): Promise<number> {
  let count = 0;
  await broker.walk(queue, "dead", async (batch) => {
    const meant = batch.filter((letter) => isMeant(letter, selection));
    if (meant.length > 0) await options.before?.(meant);
    count += meant.length;
    const chosen = new Set(meant);
    return batch.map((letter) => chosen.has(letter) ? verdict : "keep");
  }, options);
  return count;
}

function isMeant({ messageId, death }: KeptMessage, selection: DeadLetterSelection): boolean {
  if ("all" in selection) return true;
  if ("messageId" in selection) return messageId === selection.messageId;
  return death?.reason.includes(selection.reason) ?? false;
}
