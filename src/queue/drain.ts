import type { Broker, WalkOptions } from "./broker.ts";
import { PartFile, refuseExisting } from "./part_file.ts";

/** How {@linkcode drain} goes; `batch`: messages between two times that the file is forced to the disk. */
export interface DrainOptions extends WalkOptions {
  /** Called when so many more are safely in the file. */
  readonly onDrained?: (count: number) => void;
}

/**
 * Moves all messages that wait, delayed ones too, from a queue to a file, one JSON document a line: `queue`, `message_id`, `body` (or `body_base64` where it
 * is not UTF-8), `attempt`, and where known `priority`, `traceparent` and `published_at`. Messages in hand and dead letters stay. The bodies hold
 * identifiers of patients, so only the file's owner can read it.
 *
 * They go to `<file>.part` first, and each leaves the queue only when it is on disk there. If it is cut off, by whatever, that file stays: draining
 * the queue to the same file again goes on with it. A message may then be in it and on the queue, or in it twice; none is in neither.
 *
 * @param broker Where the queue is; it was declared there.
 * @param queue The queue's name.
 * @param file The file to be made; its folder must be there.
 * @param options Batches, progress and signal.
 * @returns How many messages the file holds, those of earlier attempts included.
 * @throws {MessageFileError} `file-exists` if the file is there already, or one that was cut off and is another queue's; the others if it cannot be written. Nothing more is taken from the queue then.
 * @throws {QueueError} If the broker fails.
 */
export async function drain(broker: Broker, queue: string, file: string, options: DrainOptions = {}): Promise<number> {
  options.signal?.throwIfAborted();
  await refuseExisting(file);
  await using part = await PartFile.open(`${file}.part`, queue);
  await broker.walk(queue, "waiting", async (batch) => {
    await part.append(batch);
    options.onDrained?.(batch.length);
    return batch.map(() => "delete");
  }, options);
  await part.finish(file);
  return part.count;
}
