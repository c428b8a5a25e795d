import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";

/** What servers without SHA-256 may offer. It finds what a connection has spoilt, which is all that it is used for. */
export type ChecksumKind = "md5" | "crc32";

/** A checksum of bytes that come one after another. */
export interface Checksum {
  /** Takes the next. */
  update(bytes: Uint8Array): void;
  /** Of all so far, hex in lower case with all its zeros. */
  hex(): string;
}

/** Begins one. */
export function startChecksum(kind: ChecksumKind): Checksum {
  if (kind === "md5") {
    const hash = createHash("md5");
    return { update: (bytes) => void hash.update(bytes), hex: () => hash.copy().digest("hex") };
  }
  let value = 0;
  return { update: (bytes) => void (value = crc32(bytes, value)), hex: () => value.toString(16).padStart(8, "0") };
}
