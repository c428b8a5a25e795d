import { abortable } from "@std/async";
import { FTPError } from "basic-ftp";
import type { PutOptions, Receipt, Verification } from "./destination.ts";
import { UploadError } from "./errors.ts";
import { asUploadError } from "./ftp_errors.ts";
import type { FtpsConnection, Outlook } from "./ftps_connection.ts";
import type { Pace } from "./pace.ts";
import { isPartNameOf, type RemotePath } from "./remote_path.ts";
import type { ReadOptions, ReadSoFar, SourceFile } from "./source_file.ts";

/** How one attempt goes. */
interface AttemptOptions extends PutOptions {
  readonly pace?: Pace | undefined;
  /** Whether an earlier attempt may have left the unfinished file: a command that a thousand small files need not send. */
  readonly mayBeLeft: boolean;
}

/**
 * One attempt to put a file: under a temporary name in its folder, verified, and only then renamed.
 *
 * What an earlier attempt left is continued from a place that `options.part` vouches for, else removed first: a server that has not noticed a broken
 * connection may still be writing it, and then has a file of its own. One that is continued is written at offsets (REST, not APPE), so that such a late
 * writer puts the same bytes in the same places.
 *
 * The final name is always given with its folder, which somebody may rename while a connection is in it: what was in `project` is then in `done`, and
 * a name alone would be looked for, and put, there.
 *
 * FTP renames over what is there. So it is looked up right before; another program that renames between these two is not noticed.
 */
export async function putFile(
  connection: FtpsConnection,
  source: SourceFile,
  remote: RemotePath,
  options: AttemptOptions,
): Promise<Receipt> {
  const wasThere = await connection.enter(remote.folder);
  let present: Receipt | undefined;
  let passive: Outlook["passive"];
  try {
    // What may be continued is read first, and a server does not wait that long on a port for data.
    const ahead = options.part === undefined
      ? await connection.lookAhead(remote.path)
      : { bytes: await connection.size(remote.path), passive: undefined };
    present = ahead.bytes === undefined ? undefined : await findSame(connection, ahead.bytes, source, remote, options);
    passive = ahead.bytes === undefined ? ahead.passive : undefined;
  } catch (error) {
    if (!connection.closed) await removeLeft(connection, remote, options).catch(() => {}); // as below
    throw error;
  }
  if (present !== undefined) {
    await removeLeft(connection, remote, options);
    return present;
  }
  const { name, resumed } = await begin(connection, source, remote, options);
  let isKnown = resumed > 0;
  const { onPart, ...rest } = options;
  const told = {
    ...rest,
    resumed,
    passive,
    ...(onPart && {
      onPart(read: ReadSoFar) {
        isKnown = true;
        onPart({ ...read, name });
      },
    }),
  };
  try {
    const verifiedBy = await storePart(connection, source, { ...remote, part: name }, told);
    const [sent, taken] = await connection.sizes(name, remote.path);
    expectSize(sent, source.bytes, remote.path);
    const rival = options.replace || taken === undefined
      ? undefined
      : await findSame(connection, taken, source, remote, options);
    if (rival !== undefined) {
      await connection.remove(name);
      return rival;
    }
    expectSize(await rename(connection, name, remote), source.bytes, remote.path);
    return { path: remote.path, bytes: source.bytes, sha256: source.sha256, verifiedBy, skipped: false, resumed };
  } catch (error) {
    const cause = source.failure ?? error;
    if (!connection.closed && !(isKnown && isInterruption(cause))) {
      await connection.remove(name).catch(() => {}); // the first error is the one to tell
    }
    // vsftpd says 553 for a file in a folder that is gone.
    const isRefused = cause instanceof FTPError && [550, 553].includes(cause.code);
    if (!(wasThere && isRefused)) throw cause;
    if (!connection.closed && await connection.has(remote.folder).catch(() => false)) throw cause;
    const reason = `Cannot upload '${remote.path}': its folder may have been renamed or removed meanwhile; try again`;
    throw new UploadError("interrupted", reason, { cause });
  }
}

/** @param present Size of the file that is there. @returns Its receipt, if it is the same. @throws {UploadError} `exists-different` if it may not be replaced. */
async function findSame(
  connection: FtpsConnection,
  present: number,
  source: SourceFile,
  remote: RemotePath,
  options: PutOptions,
): Promise<Receipt | undefined> {
  const verifiedBy = present === source.bytes ? await sameContent(connection, source, remote, options) : undefined;
  if (verifiedBy !== undefined) {
    return { path: remote.path, bytes: source.bytes, sha256: source.sha256, verifiedBy, skipped: true, resumed: 0 };
  }
  if (options.replace) return undefined;
  throw new UploadError(
    "exists-different",
    `Cannot upload '${remote.path}': another file with this name is there (${
      present === source.bytes ? "of the same size, with other content" : `${present} bytes, not ${source.bytes}`
    }): remove it or ask to replace it`,
  );
}

/** Makes the unfinished file one that can be written. @returns Its name, and the bytes that need not be sent again. */
async function begin(
  connection: FtpsConnection,
  source: SourceFile,
  remote: RemotePath,
  options: AttemptOptions,
): Promise<{ name: string; resumed: number }> {
  const { part, signal } = options;
  if (part !== undefined && isPartNameOf(part.name, remote.name)) {
    const there = await connection.size(part.name);
    if (there !== undefined && await source.resume(part, there, signal)) {
      if (await connection.restartAt(source.offset)) return { name: part.name, resumed: source.offset };
      source.rewind();
    }
  }
  await removeLeft(connection, remote, options);
  return { name: remote.part, resumed: 0 };
}

/** Removes what earlier attempts, of this process or one before, have begun. */
async function removeLeft(
  connection: FtpsConnection,
  remote: RemotePath,
  { part, mayBeLeft }: AttemptOptions,
): Promise<void> {
  const names = new Set<string>();
  if (part !== undefined && isPartNameOf(part.name, remote.name)) names.add(part.name);
  if (mayBeLeft) names.add(remote.part);
  for (const name of names) await connection.remove(name);
}

/** @returns The size of what has the final name then. */
async function rename(connection: FtpsConnection, part: string, remote: RemotePath): Promise<number | undefined> {
  try {
    return await connection.rename(part, remote.path);
  } catch (error) {
    const path = `${remote.path.slice(0, -remote.name.length)}${part}`;
    if (connection.closed || await connection.size(path) !== undefined) throw error;
    await connection.remove(part).catch(() => {}); // it may be in the folder that the connection is in, whatever that is called now
    throw new UploadError(
      "interrupted",
      `Cannot upload '${remote.path}': somebody has moved or removed the unfinished file; try again`,
      { cause: error },
    );
  }
}

/** Whether what has arrived may be continued. */
function isInterruption(cause: unknown): boolean {
  const error = asUploadError(cause, "upload");
  return error instanceof UploadError && error.retryable && error.code !== "verification-failed";
}

async function storePart(
  connection: FtpsConnection,
  source: SourceFile,
  remote: RemotePath,
  options: ReadOptions & { readonly resumed: number; readonly passive: Outlook["passive"] },
): Promise<Verification> {
  const kind = options.resumed === 0 ? connection.checksumKind : undefined;
  const reading = source.content({ ...options, checksum: kind });
  const content = options.signal ? await abortable(reading, options.signal) : await reading;
  await connection.store(content, remote.part, {
    passive: options.passive,
    onWritten: () => options.onProgress?.(source.bytes),
  });
  await source.assertUnchanged();
  if (options.resumed === 0 && kind === undefined && !connection.hasSha256) return "size"; // looked at before the rename
  expectSize(await connection.size(remote.part), source.bytes, remote.path);
  const theirs = await connection.sha256(remote.part, source.bytes);
  if (theirs === undefined && options.resumed === 0) {
    const checksum = kind && await connection.checksum(kind, remote.part, source.bytes);
    if (kind === undefined || checksum === undefined) return "size";
    if (checksum === source.checksum) return kind;
    throw arrivedOtherwise(remote, kind);
  }
  // What an earlier attempt left was trusted by its length: without the server's hash it is read back.
  const sha256 = theirs ?? await connection.retrieveSha256(remote.part);
  if (sha256 === source.sha256) return theirs === undefined ? "retrieved" : "sha256";
  throw arrivedOtherwise(remote, "SHA-256");
}

function arrivedOtherwise({ path }: RemotePath, what: string): UploadError {
  return new UploadError("verification-failed", `Cannot upload '${path}': it arrived with another ${what}; try again`);
}

/** How it is known that the file at the destination, of equal size, is the source; `undefined` if it is not. */
async function sameContent(
  connection: FtpsConnection,
  source: SourceFile,
  remote: RemotePath,
  options: PutOptions,
): Promise<Verification | undefined> {
  const sha256 = await source.hash(options.signal);
  await source.assertUnchanged();
  const theirs = await connection.sha256(remote.path, source.bytes);
  if (theirs !== undefined) return theirs === sha256 ? "sha256" : undefined;
  if (options.knownSha256?.toLowerCase() === sha256) return "record";
  // A crash after the rename leaves a file without a record: reading it back lets the next run find out.
  return await connection.retrieveSha256(remote.path) === sha256 ? "retrieved" : undefined;
}

function expectSize(size: number | undefined, bytes: number, path: string): void {
  if (size === bytes) return;
  throw new UploadError(
    "verification-failed",
    `Cannot upload '${path}': the destination has ${size ?? "no"} bytes of ${bytes}; try again`,
  );
}
