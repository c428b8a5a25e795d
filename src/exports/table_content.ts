import type { FileMetaData } from "hyparquet";
import { createHash } from "node:crypto";
import { openParquet, readFooter } from "./parquet_file.ts";

/** What the footer says of the writer, by which two files of the same rows may differ. */
const WRITER = "pixl.writer";

/** The footer's length and the magic bytes behind it. */
const TAIL = 8;

/**
 * Makes a hash of what a table holds that is the same whichever version of this package wrote it.
 *
 * @param path A parquet file.
 * @returns SHA-256 in hexadecimal, of the rows and the footer but for the writer's version.
 * @throws {ExtractError} `unreadable-parquet` or `access-refused`.
 */
export async function hashContent(path: string): Promise<string> {
  await using file = await openParquet(path);
  const footer = await readFooter(file, path);
  const hash = createHash("sha256").update(encodeFooter(footer));
  const end = file.byteLength - TAIL - footer.metadata_length;
  for (let start = 0; start < end; start += 1 << 20) {
    hash.update(new Uint8Array(await file.slice(start, Math.min(end, start + (1 << 20)))));
  }
  return hash.digest("hex");
}

function encodeFooter(footer: FileMetaData): string {
  const { created_by: _, metadata_length: __, key_value_metadata = [], ...rest } = footer;
  const metadata = key_value_metadata.filter(({ key }) => key !== WRITER);
  return JSON.stringify({ ...rest, metadata }, (_, value) => typeof value === "bigint" ? String(value) : value);
}
