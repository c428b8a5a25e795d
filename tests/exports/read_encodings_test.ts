import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { tableFromArrays, tableToIPC } from "apache-arrow";
import type { ColumnMetaData, SchemaElement, SchemaTree } from "hyparquet";
import { join } from "node:path";
import {
  Compression,
  Encoding,
  Table,
  writeParquet,
  type WriterProperties,
  WriterPropertiesBuilder,
  WriterVersion,
} from "parquet-wasm";
import { readChunk } from "../../src/exports/column_chunk.ts";
import { ExtractError } from "../../src/exports/mod.ts";
import { DAY_PARSERS, readColumns } from "../../src/exports/read_columns.ts";
import { readMetadata, runSql } from "./read_back.ts";
import { temporaryFolder } from "./temporary_folder.ts";

async function read(path: string, columns: readonly string[]): Promise<unknown[][]> {
  const rows: unknown[][] = [];
  for await (const batch of readColumns({ paths: [path] }, columns)) {
    for (let row = 0; row < batch.rows; row++) rows.push(batch.columns.map((column) => column[row]));
  }
  return rows;
}

async function encodingsOf(path: string): Promise<string[]> {
  const { row_groups } = await readMetadata(path);
  const all = row_groups.flatMap(({ columns }) => columns.flatMap(({ meta_data }) => meta_data?.encodings ?? []));
  return [...new Set(all)].sort();
}

const ROWS = Array.from({ length: 3_000 }, (_, i): [number, string] => [i * 3 - 7, `ACCSEED${i % 97}\u00e9`]);

/** Writes the rows by Rust's parquet. */
async function writeByArrow(path: string, properties: WriterProperties): Promise<void> {
  const table = tableFromArrays({
    id: Int32Array.from(ROWS, ([id]) => id),
    text: ROWS.map(([, text]) => text),
  });
  await Deno.writeFile(path, writeParquet(Table.fromIPCStream(tableToIPC(table, "stream")), properties));
}

Deno.test("readColumns() reads LZ4 with Hadoop's frames, as Rust's parquet writes it", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "a.parquet");
  await writeByArrow(path, new WriterPropertiesBuilder().setCompression(Compression.LZ4).build());
  assertEquals((await readMetadata(path)).row_groups[0]?.columns[0]?.meta_data?.codec, "LZ4");
  assertEquals(await read(path, ["id", "text"]), ROWS);
  const whole = await Deno.readFile(path);
  let refused = 0;
  for (let at = 5; at < whole.length; at += 53) {
    await Deno.writeFile(path, whole.slice().fill(0xff, at, at + 2));
    try {
      // Another letter or number within a block is not noticed: this compression has no checksum.
      assertEquals((await read(path, ["id", "text"])).length, ROWS.length);
    } catch (error) {
      assertInstanceOf(error, ExtractError);
      refused++;
    }
  }
  assert(refused > 10, `${refused} refused`);
});

for (const version of [WriterVersion.V1, WriterVersion.V2]) {
  for (
    const [id, text] of [
      [Encoding.PLAIN, Encoding.PLAIN],
      [Encoding.DELTA_BINARY_PACKED, Encoding.DELTA_BYTE_ARRAY],
      [Encoding.BYTE_STREAM_SPLIT, Encoding.DELTA_LENGTH_BYTE_ARRAY],
    ] as const
  ) {
    const names = [Encoding[id] ?? "", Encoding[text] ?? ""];
    Deno.test(`readColumns() reads ${names.join(" and ")} of Rust's parquet, version ${version + 1}`, async () => {
      await using dir = await temporaryFolder();
      const path = join(dir.path, "a.parquet");
      const properties = new WriterPropertiesBuilder().setWriterVersion(version).setDictionaryEnabled(false)
        .setColumnEncoding("id", id).setColumnEncoding("text", text).build();
      await writeByArrow(path, properties);
      const encodings = await encodingsOf(path);
      assertEquals(names.filter((name) => !encodings.includes(name)), []);
      assertEquals(await read(path, ["id", "text"]), ROWS);
    });
  }
}

Deno.test("readColumns() reads BYTE_STREAM_SPLIT, as DuckDB writes it, with and without nulls", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "a.parquet");
  const select = `select i * 0.37::double whole, case when i % 3 = 0 then null else i * 0.37::double end gaps
    from range(10000) t(i)`;
  await runSql(`copy (${select}) to '${path}' (format parquet, parquet_version v2)`);
  assertEquals(await encodingsOf(path), ["BYTE_STREAM_SPLIT"]);
  const expected = Array.from({ length: 10_000 }, (_, i) => [i * 0.37, i % 3 === 0 ? null : i * 0.37]);
  assertEquals(await read(path, ["whole", "gaps"]), expected);
});

/** A time in INT96, as Spark and Impala write it: nanoseconds of the day, then the day by Julius Caesar's calendar. */
function int96(nanoseconds: bigint, julianDay: number): number[] {
  const view = new DataView(new ArrayBuffer(12));
  view.setBigInt64(0, nanoseconds, true);
  view.setInt32(8, julianDay, true);
  return [...new Uint8Array(view.buffer)];
}

function int96Chunk(values: readonly number[], rows: number): () => ArrayLike<unknown> {
  const size = values.length * 2;
  const zigzag = size < 128 ? [size] : [(size & 127) | 128, size >> 7];
  // Thrift: type, both sizes, then count and encodings.
  const header = [0x15, 0, 0x15, ...zigzag, 0x15, ...zigzag, 0x2c, 0x15, rows * 2, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0];
  const bytes = new Uint8Array([...header, ...values]);
  const element: SchemaElement = { name: "t", type: "INT96", repetition_type: "REQUIRED" };
  const root: SchemaTree = { children: [], count: 1, element: { name: "root" }, path: [] };
  const column: SchemaTree = { children: [], count: 1, element, path: ["t"] };
  const metadata: ColumnMetaData = {
    ...{ type: "INT96", encodings: ["PLAIN"], path_in_schema: ["t"], codec: "UNCOMPRESSED" },
    ...{ num_values: BigInt(rows), data_page_offset: 0n },
    ...{ total_uncompressed_size: BigInt(bytes.length), total_compressed_size: BigInt(bytes.length) },
  };
  return () => readChunk({ bytes, metadata, schemaPath: [root, column], parsers: DAY_PARSERS }, rows);
}

Deno.test("readChunk() reads the day of a time in INT96, before 1970 too", () => {
  const last = 86_399_999_999_999n;
  const values = [int96(0n, 2_440_588), int96(last, 2_440_588), int96(last, 2_440_587), int96(1n, 2_458_993)];
  assertEquals(Array.from(int96Chunk(values.flat(), 4)()), ["1970-01-01", "1970-01-01", "1969-12-31", "2020-05-23"]);
  assertThrows(int96Chunk(values.flat().slice(0, -1), 4), RangeError);
});
