import { assert, assertEquals, assertRejects } from "@std/assert";
import { basename, join } from "node:path";
import { ExtractError } from "../../src/exports/mod.ts";
import { readColumns } from "../../src/exports/read_columns.ts";
import { readMetadata, runSql } from "./read_back.ts";
import { temporaryFolder } from "./temporary_folder.ts";

/** Columns that DuckDB encodes in different ways: few and many texts, growing and random numbers, with and without nulls. */
const SELECT = `select i id, (i * 2654435761) % 1000003 number, (i % 7)::int small, 'CLASS' || i % 5 few,
  'ACCSEED' || md5(i::varchar) many, case when i % 3 = 0 then null else 'MRNSEED' || i end gaps,
  null::varchar as empty, date '1955-03-03' + (i % 30000)::int as day, i * 0.5::double half`;
const COLUMNS = ["id", "number", "small", "few", "many", "gaps", "empty", "day", "half"];

async function read(path: string, columns: readonly string[] = COLUMNS): Promise<unknown[][]> {
  const rows: unknown[][] = [];
  const table = { label: basename(path), paths: [path] };
  for await (const batch of readColumns(table, columns)) {
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
