import type { ColumnMetaData, CompressionCodec, DecodedArray, PageHeader, ParquetParsers, SchemaTree } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { parquetHeader, readPage } from "hyparquet/column";
import { convert } from "hyparquet/convert";
import { brotliDecompressSync, crc32, gunzipSync, zstdDecompressSync } from "node:zlib";
import { checkRuns, checkValues } from "./check_page.ts";
import { checkThrift, type Cursor } from "./check_thrift.ts";

/** Most bytes that a page is decompressed to. */
const MAX_PAGE_BYTES = 1 << 30;

/** The values of one column in one row group, as they stand in the file. */
export interface ColumnChunk {
  /** All its bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** What the footer says of it. */
  readonly metadata: ColumnMetaData;
  /** The schema's root and the column. */
  readonly schemaPath: readonly [SchemaTree, SchemaTree];
  /** Makes values of days, times and text. */
  readonly parsers: ParquetParsers;
}

/**
 * Decodes a column without lists. hyparquet decodes each page, after this has checked what hyparquet takes for granted: on a damaged file it would count
 * for ever, fill the memory, or give values that nobody wrote. What only a checksum shows, such as another letter in a text, is noticed where the
 * writer made one: of the page, or within gzip and some other compressions. In a page with neither it cannot be noticed.
 *
 * @param chunk The column.
 * @param rows How many values there must be.
 * @returns The values; null where there is none.
 * @throws {Error} If the chunk is damaged.
 */
export function readChunk({ bytes, metadata, schemaPath, parsers }: ColumnChunk, rows: number): ArrayLike<unknown> {
  const { element } = schemaPath[1];
  const decoder = {
    ...{ pathInSchema: metadata.path_in_schema, type: metadata.type, element, schemaPath: [...schemaPath], parsers },
    codec: "UNCOMPRESSED" as const,
  };
  const cursor: Cursor = { bytes, offset: 0 };
  const pages: DecodedArray[] = [];
  let dictionary: DecodedArray | undefined;
  let count = 0;
  while (count < rows) {
    const { header, page } = nextPage(cursor, metadata.codec);
    const nullable = element.repetition_type !== "REQUIRED";
    if (header.type === "DICTIONARY_PAGE") checkDictionary(header, page, metadata.type);
    else {
      checkData(header, page, { nullable, type: metadata.type, dictionary: dictionary?.length, most: rows - count });
    }
    const reader = { view: new DataView(page.buffer, page.byteOffset, page.byteLength), offset: 0 };
    const { data } = readPage(reader, header, decoder, dictionary, undefined, 0);
    if (data === undefined) throw new RangeError("Page without values");
    if (header.type === "DICTIONARY_PAGE") dictionary = convert(data, decoder);
    else {
      pages.push(data);
      count += data.length;
    }
  }
  if (count !== rows) throw new RangeError(`${count} values for ${rows} rows`);
  const [first = []] = pages;
  const values = pages.length === 1 ? first : pages.flatMap((page) => Array.from<unknown>(page));
  let nulls = 0n;
  for (let row = 0; row < rows; row++) {
    // An index outside the dictionary.
    if (values[row] === undefined) throw new RangeError("Value without meaning");
    if (values[row] === null) nulls++;
  }
  if (nulls !== (metadata.statistics?.null_count ?? nulls)) {
    throw new RangeError("Nulls that the footer does not count");
  }
  return values;
}

/** Reads a page's header and decompresses what follows it. The page has a buffer of its own: nothing can be read beyond its end. */
function nextPage(cursor: Cursor, codec: CompressionCodec): { header: PageHeader; page: Uint8Array<ArrayBuffer> } {
  const { bytes, offset } = cursor;
  checkThrift(cursor);
  const header = parquetHeader({ view: new DataView(bytes.buffer, bytes.byteOffset, cursor.offset), offset });
  const { compressed_page_size: length, uncompressed_page_size: size, data_page_header_v2: v2 } = header;
  const end = cursor.offset + length;
  if (!(length >= 0 && size >= 0 && size <= MAX_PAGE_BYTES && end <= bytes.length)) throw new RangeError("Wrong size");
  const body = bytes.subarray(cursor.offset, end);
  cursor.offset = end;
  if (header.crc !== undefined && (crc32(body) | 0) !== (header.crc | 0)) throw new RangeError("Wrong checksum");
  // Levels come first and are not compressed in version 2.
  const levels = v2 === undefined ? 0 : v2.repetition_levels_byte_length + v2.definition_levels_byte_length;
  if (!(levels >= 0 && levels <= Math.min(length, size))) throw new RangeError("Wrong size of levels");
  const compressed = v2?.is_compressed !== false && codec !== "UNCOMPRESSED";
  const page = new Uint8Array(size);
  const values = body.subarray(levels);
  // Where all are null, nothing is left to decompress, and what a compressor makes of nothing is no value.
  const plain = !compressed ? values : size > levels ? decompress(codec, values, size - levels) : new Uint8Array();
  if (plain.length !== size - levels) throw new RangeError("Page of another length");
  page.set(body.subarray(0, levels));
  page.set(plain, levels);
  return {
    header: {
      ...header,
      compressed_page_size: size,
      ...(v2 && { data_page_header_v2: { ...v2, is_compressed: false } }),
    },
    page,
  };
}

function decompress(codec: CompressionCodec, input: Uint8Array, size: number): Uint8Array {
  const options = { maxOutputLength: size };
  if (codec === "GZIP") return gunzipSync(input, options);
  if (codec === "BROTLI") return brotliDecompressSync(input, options);
  if (codec === "ZSTD") return zstdDecompressSync(input, options);
  const decompressor = compressors[codec];
  if (decompressor === undefined) throw new RangeError("Unknown compression");
  return decompressor(input, size);
}

function checkDictionary({ dictionary_page_header: dictionary }: PageHeader, bytes: Uint8Array, type: string): void {
  if (dictionary === undefined || !(dictionary.num_values >= 0)) throw new RangeError("Wrong count");
  // Some writers call it PLAIN_DICTIONARY here; it is plain always.
  const values = { encoding: "PLAIN", type, count: dictionary.num_values, dictionary: undefined, version: 1 } as const;
  checkValues({ bytes, offset: 0 }, values);
}

function checkData(
  { data_page_header: v1, data_page_header_v2: v2 }: PageHeader,
  bytes: Uint8Array,
  column: { nullable: boolean; type: string; dictionary: number | undefined; most: number },
): void {
  const page = v1 ?? v2;
  if (page === undefined || !(page.num_values >= 0 && page.num_values <= column.most)) {
    throw new RangeError("Wrong count");
  }
  let offset = 0;
  let end = 0;
  let present = page.num_values;
  if (v2 !== undefined) {
    offset = v2.repetition_levels_byte_length;
    end = offset + v2.definition_levels_byte_length;
  } else if (column.nullable) {
    end = 4 + new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
    offset = 4;
  }
  if (end > bytes.length) throw new RangeError("Levels end early");
  if (column.nullable) present = checkRuns({ bytes: bytes.subarray(0, end), offset }, 1, page.num_values);
  if (v2 !== undefined && v2.num_values - v2.num_nulls !== present) throw new RangeError("Wrong count of nulls");
  checkValues({ bytes, offset: end }, {
    encoding: page.encoding,
    type: column.type,
    count: present,
    dictionary: column.dictionary,
    version: v2 === undefined ? 1 : 2,
  });
}
