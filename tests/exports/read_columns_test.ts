import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { ColumnMetaData, SchemaElement, SchemaTree } from "hyparquet";
import { parquetHeader } from "hyparquet/column";
import { DEFAULT_PARSERS } from "hyparquet/convert";
import { crc32 } from "node:zlib";
import { join } from "node:path";
import { checkValues } from "../../src/exports/check_page.ts";
import { checkThrift } from "../../src/exports/check_thrift.ts";
import { type ColumnChunk, readChunk } from "../../src/exports/column_chunk.ts";
import { ExtractError } from "../../src/exports/mod.ts";
import { readColumns } from "../../src/exports/read_columns.ts";
import { readMetadata, runSql } from "./read_back.ts";
import { temporaryFolder } from "./temporary_folder.ts";
import { writeTable } from "./write_table.ts";

/** Columns that DuckDB encodes in different ways: few and many texts, growing and random numbers, with and without nulls. */
const SELECT = `select i id, (i * 2654435761) % 1000003 number, (i % 7)::int small, 'CLASS' || i % 5 few,
  'ACCSEED' || md5(i::varchar) many, case when i % 3 = 0 then null else 'MRNSEED' || i end gaps,
  null::varchar as empty, date '1955-03-03' + (i % 30000)::int as day, i * 0.5::double half`;
const COLUMNS = ["id", "number", "small", "few", "many", "gaps", "empty", "day", "half"];

async function read(path: string, columns: readonly string[] = COLUMNS): Promise<unknown[][]> {
  const rows: unknown[][] = [];
  for await (const batch of readColumns({ paths: [path] }, columns)) {
    for (let row = 0; row < batch.rows; row++) rows.push(batch.columns.map((column) => column[row]));
  }
  return rows;
}

function expected(i: number): unknown[] {
  const day = new Date(Date.UTC(1955, 2, 3 + i % 30000)).toISOString().slice(0, 10);
  const number = (BigInt(i) * 2654435761n) % 1000003n;
  return [BigInt(i), number, i % 7, `CLASS${i % 5}`, i % 3 === 0 ? null : `MRNSEED${i}`, null, day, i * 0.5];
}

for (const codec of ["uncompressed", "snappy", "gzip", "zstd", "brotli", "lz4_raw"]) {
  for (const version of ["v1", "v2"]) {
    Deno.test(`readColumns() reads what DuckDB writes as ${codec}, version ${version}`, async () => {
      await using dir = await temporaryFolder();
      const path = join(dir.path, "a.parquet");
      const options = `format parquet, codec ${codec}, parquet_version ${version}, row_group_size 4096`;
      await runSql(`copy (${SELECT} from range(10000) t(i)) to '${path}' (${options})`);
      const rows = await read(path);
      assertEquals(rows.length, 10_000);
      assert(rows.every((row) => /^ACCSEED[0-9a-f]{32}$/.test(String(row[4]))));
      assertEquals(rows.map((row) => row.toSpliced(4, 1)), rows.map((_, i) => expected(i)));
    });
  }
}

Deno.test("readColumns() met every encoding that DuckDB has for these columns", async () => {
  await using dir = await temporaryFolder();
  const encodings = new Set<string>();
  for (const version of ["v1", "v2"]) {
    const path = join(dir.path, `${version}.parquet`);
    await runSql(`copy (${SELECT} from range(10000) t(i)) to '${path}' (format parquet, parquet_version ${version})`);
    for (const group of (await readMetadata(path)).row_groups) {
      for (const { meta_data } of group.columns) meta_data?.encodings.forEach((encoding) => encodings.add(encoding));
    }
  }
  for (const wanted of ["PLAIN", "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "RLE_DICTIONARY"]) {
    assert(encodings.has(wanted), `${wanted} of ${[...encodings].join(", ")}`);
  }
});

/** Numbers that look random and are the same in every run. */
function* randoms(seed: number): Generator<number> {
  for (let state = seed;;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state;
  }
}

for (const codec of ["uncompressed", "snappy", "gzip", "zstd", "brotli", "lz4_raw"]) {
  for (const version of ["v1", "v2"]) {
    Deno.test(`readColumns() ends in an error or all rows when a file is damaged: ${codec}, version ${version}`, async () => {
      await using dir = await temporaryFolder();
      const path = join(dir.path, "a.parquet");
      const options = `format parquet, codec ${codec}, parquet_version ${version}`;
      await runSql(`copy (${SELECT} from range(300) t(i)) to '${path}' (${options})`);
      const whole = await Deno.readFile(path);
      const original = await read(path);
      const random = randoms(codec.length * 10 + version.length);
      let refused = 0;
      const [rounds, started] = [150, performance.now()];
      for (let round = 0; round < rounds; round++) {
        const bytes = whole.slice();
        const length = 1 + random.next().value % 3;
        const at = random.next().value % bytes.length;
        bytes.fill([0x00, 0xff, 0x80, random.next().value & 0xff][round % 4] ?? 0, at, at + length);
        await Deno.writeFile(path, bytes);
        try {
          assertEquals((await read(path)).length, original.length, `damaged at ${at}, ${length} bytes`);
        } catch (error) {
          if (!(error instanceof ExtractError)) throw error;
          assert(error.message.includes(path), error.message);
          refused++;
        }
      }
      assert(refused > 0);
      // Some 5 ms a file: one that spins, or fills the memory, takes seconds.
      assert(performance.now() - started < 15_000, "Reading damaged files took too long");
    });
  }
}

Deno.test("readColumns() never gives another row when a page with a checksum is damaged", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "a.parquet");
  await runSql(`copy (${SELECT} from range(300) t(i)) to '${path}' (format parquet, codec gzip)`);
  const whole = await Deno.readFile(path);
  const original = await read(path);
  const { metadata_length } = await readMetadata(path);
  const random = randoms(1);
  let refused = 0;
  for (let round = 0; round < 150; round++) {
    const at = random.next().value % (whole.length - metadata_length - 8);
    await Deno.writeFile(path, whole.with(at, (whole[at] ?? 0) ^ (1 << random.next().value % 8)));
    try {
      assertEquals(await read(path), original, `damaged at ${at}`);
    } catch (error) {
      if (!(error instanceof ExtractError)) throw error;
      refused++;
    }
  }
  assert(refused > 100, `${refused} refused`);
});

/** Puts bytes where a page's content begins, of an uncompressed column. */
async function damagePage(path: string, column: number, skip: number, bytes: readonly number[]): Promise<void> {
  const content = await Deno.readFile(path);
  const chunk = (await readMetadata(path)).row_groups[0]?.columns[column]?.meta_data;
  const reader = { view: new DataView(content.buffer), offset: Number(chunk?.data_page_offset) };
  const header = parquetHeader(reader);
  content.set(bytes, reader.offset + (header.data_page_header_v2?.definition_levels_byte_length ?? 0) + skip);
  await Deno.writeFile(path, content);
}

for (
  const [what, version, column, skip, bytes] of [
    ["levels that would fill the memory", "v1", 5, 4, [0xfe, 0xff, 0xff, 0xff, 0x0f]],
    ["indices that would fill the memory", "v1", 3, 4 + 3 + 1, [0xfe, 0xff, 0xff, 0xff, 0x0f]],
    ["indices outside the dictionary", "v2", 3, 0, [3, 0x4d, 0xff, 0xff, 0xff]],
  ] as const
) {
  Deno.test(`readColumns() refuses ${what}`, async () => {
    await using dir = await temporaryFolder();
    const path = join(dir.path, "a.parquet");
    const options = `format parquet, codec uncompressed, parquet_version ${version}`;
    await runSql(`copy (${SELECT} from range(300) t(i)) to '${path}' (${options})`);
    await damagePage(path, column, skip, bytes);
    const name = COLUMNS[column] ?? "";
    const started = performance.now();
    const error = await assertRejects(() => read(path), ExtractError, `Cannot read column '${name}' of '${path}'`);
    assertEquals(error.code, "unreadable-parquet");
    // A few milliseconds; seconds, and gigabytes, if hyparquet were let loose on them.
    assert(performance.now() - started < 2_000, "It took too long to refuse");
  });
}

for (const codec of ["uncompressed", "snappy"]) {
  Deno.test(`readColumns() refuses a dictionary whose last text is cut short, ${codec}`, async () => {
    await using dir = await temporaryFolder();
    const path = join(dir.path, "a.parquet");
    await runSql(`copy (${SELECT} from range(300) t(i)) to '${path}' (format parquet, codec ${codec})`);
    const content = await Deno.readFile(path);
    const chunk = (await readMetadata(path)).row_groups[0]?.columns[3]?.meta_data;
    const reader = { view: new DataView(content.buffer), offset: Number(chunk?.dictionary_page_offset) };
    const { compressed_page_size: size } = parquetHeader(reader);
    // Its length, four bytes, stands before the text of six.
    const at = reader.offset + size - 10;
    assertEquals(content[at], 6);
    await Deno.writeFile(path, content.with(at, 5));
    const error = await assertRejects(() => read(path), ExtractError, `Cannot read column 'few' of '${path}'`);
    assertEquals(error.code, "unreadable-parquet");
  });
}

for (const names of [["id", "ID"], ["ID", "id"]] as const) {
  Deno.test(`readColumns() refuses to choose between '${names.join("' and '")}'`, async () => {
    await using dir = await temporaryFolder();
    const path = join(dir.path, "a.parquet");
    await writeTable(path, names.map((name) => ({ name, type: "int32" })), [{ id: 1, ID: 2 }]);
    const error = await assertRejects(
      () => read(path, ["id"]),
      ExtractError,
      "Cannot choose between two of column 'id'",
    );
    assertEquals([error.code, error.message.includes(path)], ["column-missing", true]);
  });
}

for (
  const [what, bytes, values] of [
    ["texts that end before their page", [1, 0, 0, 0, 65, 0], { encoding: "PLAIN", count: 1 }],
    ["texts that end behind their page", [9, 0, 0, 0, 65], { encoding: "PLAIN", count: 1 }],
    ["indices without a dictionary", [1, 2, 0], { encoding: "RLE_DICTIONARY", count: 1 }],
    [
      "indices without bits that never end",
      [0, 255, 255, 255, 255, 15],
      { encoding: "RLE_DICTIONARY", count: 5, dictionary: 1, version: 2 },
    ],
    // Prefixes 0 and 2 of texts of which the first has one letter: blocks of 128 in 4, the count, the first value, then deltas.
    [
      "a prefix longer than the text before",
      [128, 1, 4, 2, 0, 4, 0, 0, 0, 0, 128, 1, 4, 2, 2, 0, 0, 0, 0, 0, 65, 66],
      { encoding: "DELTA_BYTE_ARRAY", count: 2 },
    ],
    ["a block of no values", [0, 4, 2, 0, 0, 0], { encoding: "DELTA_BINARY_PACKED", count: 2 }],
    ["a number that does not end", Array(300).fill(0x80), { encoding: "DELTA_BINARY_PACKED", count: 2 }],
  ] as const
) {
  Deno.test(`checkValues() refuses ${what}`, () => {
    const page = { type: "BYTE_ARRAY", dictionary: undefined, version: 1, ...values } as const;
    assertThrows(() => checkValues({ bytes: new Uint8Array(bytes), offset: 0 }, page), RangeError);
  });
}

/** A column of one required 32-bit number in one page, as its bytes are; with a checksum of those that follow. */
function chunkOf(value: number, checked: readonly number[], nulls?: bigint): ColumnChunk {
  const zigzag = crc32(new Uint8Array(checked)) | 0;
  const crc: number[] = [];
  for (let rest = ((zigzag << 1) ^ (zigzag >> 31)) >>> 0;; rest >>>= 7) {
    crc.push(rest > 127 ? (rest & 127) | 128 : rest);
    if (rest < 128) break;
  }
  // Thrift: type, both sizes, checksum, then count and encodings.
  const header = [0x15, 0, 0x15, 8, 0x15, 8, 0x15, ...crc, 0x1c, 0x15, 2, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0];
  const bytes = new Uint8Array([...header, value, 0, 0, 0]);
  const element: SchemaElement = { name: "id", type: "INT32", repetition_type: "REQUIRED" };
  const root: SchemaTree = { children: [], count: 1, element: { name: "root" }, path: [] };
  const column: SchemaTree = { children: [], count: 1, element, path: ["id"] };
  const metadata: ColumnMetaData = {
    ...{ type: "INT32", encodings: ["PLAIN"], path_in_schema: ["id"], codec: "UNCOMPRESSED", num_values: 1n },
    ...{ total_uncompressed_size: BigInt(bytes.length), total_compressed_size: BigInt(bytes.length) },
    ...{ data_page_offset: 0n, ...(nulls !== undefined && { statistics: { null_count: nulls } }) },
  };
  return { bytes, metadata, schemaPath: [root, column], parsers: DEFAULT_PARSERS };
}

Deno.test("readChunk() refuses a page that is not as its checksum says", () => {
  assertEquals(Array.from(readChunk(chunkOf(7, [7, 0, 0, 0]), 1)), [7]);
  assertEquals(Array.from(readChunk(chunkOf(200, [200, 0, 0, 0]), 1)), [200]);
  assertThrows(() => readChunk(chunkOf(6, [7, 0, 0, 0]), 1), RangeError, "Wrong checksum");
});

Deno.test("readChunk() refuses another number of nulls than the footer has", () => {
  assertEquals(Array.from(readChunk(chunkOf(7, [7, 0, 0, 0], 0n), 1)), [7]);
  assertThrows(() => readChunk(chunkOf(7, [7, 0, 0, 0], 1n), 1), RangeError, "Nulls");
});

Deno.test("checkThrift() refuses numbers, lists and structs that do not end", () => {
  const nested = Array(100).fill(0x1c);
  for (
    const bytes of [[0x15, ...Array(20).fill(0x80)], [0x19, 0xf5, 0xff, 0xff, 0xff, 0x0f, 0], [0x18, 50, 0], nested, [
      0x15,
    ]]
  ) {
    assertThrows(() => checkThrift({ bytes: new Uint8Array(bytes), offset: 0 }), RangeError);
  }
});

Deno.test("readColumns() names file and column that are damaged", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "a.parquet");
  await runSql(`copy (${SELECT} from range(300) t(i)) to '${path}' (format parquet)`);
  const bytes = await Deno.readFile(path);
  const chunk = (await readMetadata(path)).row_groups[0]?.columns[4]?.meta_data;
  const at = Number(chunk?.data_page_offset);
  await Deno.writeFile(path, bytes.fill(0xff, at, at + 30));
  const error = await assertRejects(() => read(path), ExtractError, `Cannot read column 'many' of '${path}'`);
  assertEquals([error.code, error.kind], ["unreadable-parquet", "input"]);
  assertEquals((await read(path, ["id", "few"])).length, 300);
});

Deno.test("readColumns() refuses every file that is cut off", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "a.parquet");
  await runSql(`copy (${SELECT} from range(20) t(i)) to '${path}' (format parquet)`);
  const bytes = await Deno.readFile(path);
  for (let length = 0; length < bytes.length; length += 37) {
    await Deno.writeFile(path, bytes.subarray(0, length));
    assertEquals((await assertRejects(() => read(path), ExtractError)).code, "unreadable-parquet");
  }
});
