import { MessageFileError } from "./message_file_error.ts";
import { type MessageLine, readLine } from "./message_line.ts";

const CHUNK_BYTES = 256 * 1024;
/** The longest line: a body of 128 MiB, the most that RabbitMQ takes, has at most so much in base64. */
const MOST_LINE_BYTES = 192 << 20;
const NEWLINE = 0x0a;

/** A line of a file. */
interface Line {
  /** Without its end. */
  readonly bytes: Uint8Array;
  /** Bytes of the file up to its end. */
  readonly end: number;
  /** Whether it has an end: the last may have none. */
  readonly whole: boolean;
}

/** A message of a file, and how many bytes of the file reach to its end. */
interface PlacedMessage extends MessageLine {
  readonly end: number;
}

/**
 * Reads the messages of a file from where it stands.
 *
 * @param file Open for reading. The caller closes it.
 * @param path Its name, for errors.
 * @param options With `torn` a last line without its end is left out; it is an error otherwise.
 * @throws {MessageFileError} `file-malformed` at the first line that is no message, naming its number.
 */
export async function* readMessages(
  file: Deno.FsFile,
  path: string,
  { torn = false }: { readonly torn?: boolean } = {},
): AsyncGenerator<PlacedMessage, void> {
  let number = 0;
  for await (const { bytes, end, whole } of readLines(file, path)) {
    number++;
    if (!whole && torn) return;
    const line = whole ? readLine(bytes) : undefined;
    if (line === undefined) throw malformed(path, number);
    yield { ...line, end };
  }
}

async function* readLines(file: Deno.FsFile, path: string): AsyncGenerator<Line, void> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  let [begun, begunBytes, end, lines]: [Uint8Array[], number, number, number] = [[], 0, 0, 0];
  for (let read = await file.read(buffer); read !== null; read = await file.read(buffer)) {
    let chunk = buffer.slice(0, read);
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE)) {
      const bytes = joined([...begun, chunk.subarray(0, at)]);
      end += bytes.length + 1;
      lines++;
      yield { bytes, end, whole: true };
      [begun, begunBytes, chunk] = [[], 0, chunk.subarray(at + 1)];
    }
    begun.push(chunk);
    begunBytes += chunk.length;
    if (begunBytes > MOST_LINE_BYTES) throw malformed(path, lines + 1);
  }
  if (begunBytes > 0) yield { bytes: joined(begun), end: end + begunBytes, whole: false };
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const [only] = pieces;
  if (pieces.length === 1 && only !== undefined) return only;
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

function malformed(path: string, line: number): MessageFileError {
  return new MessageFileError(
    "file-malformed",
    `Cannot read line ${line} of '${path}': it is no message as 'drain' writes it, mend it or take it out`,
  );
}

/** Whether something has that name, be it a link to nothing. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Forces a folder's names to the disk: a file that is new or renamed may otherwise be gone after a power cut. */
export async function syncFolder(dir: string): Promise<void> {
  using folder = await Deno.open(dir);
  await folder.sync();
}
