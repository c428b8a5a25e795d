import type { PutOptions, Receipt, Verification } from "./destination.ts";
import { UploadError } from "./errors.ts";
import type { FtpsConnection } from "./ftps_connection.ts";
import type { RemotePath } from "./remote_path.ts";
import type { SourceFile } from "./source_file.ts";

/**
 * One attempt to put a file: under a temporary name in its folder, verified, and only then renamed.
 *
 * What was left by an earlier attempt is never continued: its bytes are unknown, and a server that has not noticed a broken connection may still be
 * writing it. It is removed first, so that such a late writer has a file of its own.
 */
export async function putFile(
  connection: FtpsConnection,
  source: SourceFile,
  remote: RemotePath,
  options: PutOptions,
): Promise<Receipt> {
  await connection.enter(remote.folder);
  const present = await connection.size(remote.name);
  if (present !== undefined) {
    const verifiedBy = present === source.bytes ? await sameContent(connection, source, remote, options) : undefined;
    if (verifiedBy !== undefined) {
      return { path: remote.path, bytes: source.bytes, sha256: source.sha256, verifiedBy, skipped: true };
    }
    if (!options.replace) {
      throw new UploadError(
        "exists-different",
        `Cannot upload '${remote.path}': another file with this name is there (${present} bytes, not the ${source.bytes} ` +
          "of the source or not the same): remove it or ask to replace it",
      );
    }
  }
  await connection.remove(remote.part);
  try {
    const verifiedBy = await storePart(connection, source, remote, options);
    await connection.rename(remote.part, remote.name);
    await expectSize(connection, remote.name, source.bytes, remote.path);
    return { path: remote.path, bytes: source.bytes, sha256: source.sha256, verifiedBy, skipped: false };
  } catch (error) {
    if (!connection.closed) await connection.remove(remote.part).catch(() => {}); // the first error is the one to tell
    throw source.failure ?? error;
  }
}

async function storePart(
  connection: FtpsConnection,
  source: SourceFile,
  remote: RemotePath,
  options: PutOptions,
): Promise<Verification> {
  await connection.store(source.stream(options.onProgress), remote.part);
  await source.assertUnchanged();
  await expectSize(connection, remote.part, source.bytes, remote.path);
  const sha256 = await connection.sha256(remote.part, source.bytes);
  if (sha256 === undefined) return "size";
  if (sha256 === source.sha256) return "sha256";
  throw new UploadError(
    "verification-failed",
    `Cannot upload '${remote.path}': it arrived with another SHA-256; try again`,
  );
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
  const theirs = await connection.sha256(remote.name, source.bytes);
  if (theirs !== undefined) return theirs === sha256 ? "sha256" : undefined;
  if (options.knownSha256?.toLowerCase() === sha256) return "record";
  // A crash after the rename leaves a file without a record: reading it back lets the next run find out.
  return await connection.retrieveSha256(remote.name) === sha256 ? "retrieved" : undefined;
}

async function expectSize(connection: FtpsConnection, name: string, bytes: number, path: string): Promise<void> {
  const size = await connection.size(name);
  if (size === bytes) return;
  throw new UploadError(
    "verification-failed",
    `Cannot upload '${path}': the destination has ${size ?? "no"} bytes of ${bytes}; try again`,
  );
}
