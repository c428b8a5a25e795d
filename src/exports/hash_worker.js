// Hashes the files whose paths it is sent, in a thread of its own: answers how many bytes it has come further, then the hash. See hash_pool.ts.
import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";

// Fits into the processor's cache.
const piece = new Uint8Array(1 << 18);
const PIECES_A_MESSAGE = 16;

self.onmessage = ({ data: path }) => {
  try {
    self.postMessage({ sha256: hash(path) });
  } catch (error) {
    self.postMessage({ message: error.message, code: error.code });
  }
};

function hash(path) {
  const sha256 = createHash("sha256");
  const file = openSync(path, "r");
  try {
    for (let count = 1, bytes = 0;; count++) {
      const read = readSync(file, piece);
      bytes += read;
      if (read > 0) sha256.update(piece.subarray(0, read));
      if (read === 0 || count % PIECES_A_MESSAGE === 0) {
        self.postMessage({ bytes });
        bytes = 0;
      }
      if (read === 0) return sha256.digest("hex");
    }
  } finally {
    closeSync(file);
  }
}
