import { createHash } from "node:crypto";
import { open } from "node:fs/promises";

/** Bytes that are hashed at a time. */
const PIECE = 1 << 20;

/** How a file is hashed. */
export interface HashOptions {
  /** Stops it. */
  readonly signal?: AbortSignal;
  /** Is told of bytes that are hashed, piece by piece. */
  readonly onBytes?: (bytes: number) => void;
}

/**
 * Hashes a file.
 *
 * @param path Its path. @param options How to stop, and who is told of the bytes.
 * @returns SHA-256 in hexadecimal.
 */
export async function hashFile(path: string, options: HashOptions = {}): Promise<string> {
  await using file = await open(path, "r");
  const hash = createHash("sha256");
  // The next piece is read while one is hashed.
  let [piece, next] = [new Uint8Array(PIECE), new Uint8Array(PIECE)];
  let { bytesRead } = await file.read(piece);
  while (bytesRead > 0) {
    options.signal?.throwIfAborted();
    const reading = file.read(next);
    // It is waited for below, unless hashing it is given up.
    reading.catch(() => {});
    hash.update(piece.subarray(0, bytesRead));
    options.onBytes?.(bytesRead);
    ({ bytesRead } = await reading);
    [piece, next] = [next, piece];
  }
  return hash.digest("hex");
}
