import { basename, dirname, join } from "node:path";
import type { Broker, OutgoingMessage, PublishOptions } from "./broker.ts";
import { PublishError } from "./errors.ts";
import { isThere, readMessages, syncFolder } from "./message_file.ts";
import { MessageFileError, onDisk } from "./message_file_error.ts";

/** How {@linkcode restore} goes. */
export interface RestoreOptions extends PublishOptions {
  /** Called for each message when it was read to be published. */
  readonly onRestored?: () => void;
}

/**
 * Publishes the messages of a file that {@linkcode drain} wrote, with the attempt, priority and trace that they had, and renames the file to
 * `<file>.restored` when the broker has confirmed every one. When they were published and how long they were delayed is lost: they are published now, and
 * ready. The whole file is checked first: nothing is published from one with a line that is wrong.
 *
 * @param broker Where the queue is; it was declared there.
 * @param queue The queue's name, also another than they came from.
 * @param file The file.
 * @param options As for {@linkcode Broker.publish}.
 * @returns How many messages were published.
 * @throws {MessageFileError} If it cannot be used: `file-unfinished` if its drain was cut off; `not-confirmed`, with the {@linkcode PublishError} as its
 * cause, if some messages were not confirmed: the file stays, and restoring it again publishes all of it again.
 */
export async function restore(
  broker: Broker,
  queue: string,
  file: string,
  options: RestoreOptions = {},
): Promise<number> {
  options.signal?.throwIfAborted();
  const restored = `${file}.restored`;
  if (basename(file).endsWith(".part")) {
    const whole = join(dirname(file), basename(file, ".part"));
    throw new MessageFileError("file-unfinished", `Cannot restore '${file}': its drain was cut off, ${finish(whole)}`);
  }
  if (await isThere(restored)) {
    throw await isThere(file)
      ? new MessageFileError("file-exists", `Cannot restore '${file}': '${restored}' is there already, move it away`)
      : new MessageFileError("file-missing", `Cannot restore '${file}': it was restored and is '${restored}' now`);
  }
  using opened = await openFile(file);
  for await (const _ of readMessages(opened, file)) options.signal?.throwIfAborted();
  await opened.seek(0, Deno.SeekMode.Start);

  let count: number;
  try {
    count = await broker.publish(queue, messagesOf(opened, file, options), options);
  } catch (error) {
    if (!(error instanceof PublishError)) throw error;
    throw new MessageFileError(
      "not-confirmed",
      `Queue '${queue}' did not confirm ${error.unconfirmed.length} messages of '${file}' (${error.confirmed} confirmed): ` +
        "the file stays, restore it again",
      { cause: error },
    );
  }
  const remedy = "its messages are on the queue: move it away, or they are published twice";
  await onDisk(`rename '${file}', though it is restored`, remedy, async () => {
    await Deno.rename(file, restored);
    await syncFolder(dirname(file));
  });
  return count;
}

async function* messagesOf(
  file: Deno.FsFile,
  path: string,
  { onRestored }: RestoreOptions,
): AsyncGenerator<OutgoingMessage, void> {
  for await (const { message } of readMessages(file, path)) {
    onRestored?.();
    yield message;
  }
}

/** Opens it for this process alone, so that it is not published twice. */
async function openFile(path: string): Promise<Deno.FsFile> {
  if (!await isThere(path) && await isThere(`${path}.part`)) {
    throw new MessageFileError("file-unfinished", `Cannot restore '${path}': its drain was cut off, ${finish(path)}`);
  }
  const file = await onDisk(`read '${path}'`, "see to the disk", () => Deno.open(path));
  try {
    if (!(await file.stat()).isFile) {
      throw new MessageFileError("file-malformed", `Cannot restore '${path}': it is no file`);
    }
    if (!await file.tryLock(true)) {
      throw new MessageFileError("file-in-use", `Cannot restore '${path}': another process does, wait for its end`);
    }
    // Who had it before has renamed it since it was opened.
    const [opened, named] = [
      await file.stat(),
      await onDisk(`read '${path}'`, "see to the disk", () => Deno.stat(path)),
    ];
    if (named.ino !== opened.ino || named.dev !== opened.dev) {
      throw new MessageFileError("file-missing", `Cannot restore '${path}': another process has restored it meanwhile`);
    }
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

function finish(whole: string): string {
  return `drain the queue to '${whole}' again, which goes on with it`;
}
