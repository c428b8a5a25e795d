import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { type Row, TableError, type TableSchema, TableWriter } from "../../src/exports/mod.ts";
import { VERSION } from "../../src/version.ts";
import { FileSink } from "../../src/exports/file_sink.ts";
import { RowWriter } from "../../src/exports/row_writer.ts";
import { queryParquet, readMetadata, readRows } from "./read_back.ts";
import { temporaryFolder } from "./temporary_folder.ts";
import { writeTable } from "./write_table.ts";

const ALL = [
  { name: "s", type: "string", optional: true },
  { name: "i32", type: "int32", optional: true },
  { name: "i64", type: "int64", optional: true },
  { name: "f", type: "double", optional: true },
  { name: "b", type: "boolean", optional: true },
  { name: "d", type: "date", optional: true },
  { name: "t", type: "timestamp", optional: true },
  { name: "dec", type: "decimal(10,2)", optional: true },
  { name: "j", type: "json", optional: true },
  { name: "l", type: "int32", list: true, optional: true },
] as const satisfies TableSchema;

const REQUIRED = [{ name: "s", type: "string" }, { name: "i32", type: "int32" }] as const satisfies TableSchema;

async function names(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name).sort();
}

Deno.test("TableWriter writes every type so that DuckDB reads the same", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "all.parquet");
  const rows: Row<typeof ALL>[] = [
    { s: "a", i32: 1, i64: 1n, f: 0.1, b: true, d: "2024-02-29", t: new Date("2024-03-05T06:07:08.009Z") },
    {
      s: "",
      i32: -(2 ** 31),
      i64: -(2n ** 63n),
      f: -Infinity,
      b: false,
      d: "1955-03-03",
      t: "1955-03-03T23:30:00.123456",
    },
    { s: null },
    {
      s: "é😀",
      i32: 2 ** 31 - 1,
      i64: 2n ** 63n - 1n,
      f: 5e-324,
      b: true,
      d: "0001-01-01",
      t: "2024-06-01T00:00:00+01:00",
    },
    { s: "z", i32: 0, i64: 9007199254740991, f: -0, b: false, d: "9999-12-31", t: "1969-12-31T23:59:59.999999Z" },
  ];

  assertEquals((await writeTable(path, ALL, rows)).rows, 5);

  assertEquals(
    await queryParquet(
      path,
      "select s, i32, i64, f, b, d::varchar d, strftime(t::timestamp, '%Y-%m-%d %H:%M:%S.%f') t from rows",
    ),
    [
      { s: "a", i32: 1, i64: "1", f: 0.1, b: true, d: "2024-02-29", t: "2024-03-05 06:07:08.009000" },
      {
        s: "",
        i32: -2147483648,
        i64: "-9223372036854775808",
        f: "-Infinity",
        b: false,
        d: "1955-03-03",
        t: "1955-03-03 23:30:00.123456",
      },
      { s: null, i32: null, i64: null, f: null, b: null, d: null, t: null },
      {
        s: "é😀",
        i32: 2147483647,
        i64: "9223372036854775807",
        f: 5e-324,
        b: true,
        d: "0001-01-01",
        t: "2024-05-31 23:00:00.000000",
      },
      { s: "z", i32: 0, i64: "9007199254740991", f: -0, b: false, d: "9999-12-31", t: "1969-12-31 23:59:59.999999" },
    ],
  );
});

for (const count of [0, 1, 8191, 8192, 8193, 20_000]) {
  Deno.test(`TableWriter writes ${count} rows, each once and in order`, async () => {
    await using dir = await temporaryFolder();
    const path = join(dir.path, "rows.parquet");
    const schema = [{ name: "n", type: "int64" }, { name: "odd", type: "string", optional: true }] as const;
    const rows = Array.from({ length: count }, (_, n) => ({ n, odd: n % 2 === 1 ? `v${n}` : null }));

    const written = await writeTable(path, schema, rows);

    const bytes = await Deno.readFile(path);
    assertEquals(written, {
      rows: count,
      bytes: bytes.length,
      sha256: createHash("sha256").update(bytes).digest("hex"),
    });
    assertEquals(await readRows(path), rows.map(({ n, odd }) => ({ n: BigInt(n), odd })));
    const sum = "select count(*)::int n, count(odd)::int odd, (count(*) filter (odd = 'v' || n))::int same from rows";
    assertEquals(await queryParquet(path, sum), [{ n: count, odd: count >> 1, same: count >> 1 }]);
  });
}

Deno.test("TableWriter writes columns of nulls only", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "nulls.parquet");
  await writeTable(path, ALL, Array.from({ length: 10_000 }, () => ({})));
  assertEquals(
    await queryParquet(
      path,
      "select count(*)::int n, count(coalesce(s, i32::text, i64::text, f::text, d::text))::int v from rows",
    ),
    [{ n: 10_000, v: 0 }],
  );
});

Deno.test("TableWriter starts a row group when the texts are long", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "long.parquet");
  const report = "x".repeat(1 << 20);
  const rows = Array.from({ length: 20 }, (_, n) => ({ report: `${n}${report}` }));
  await writeTable(path, [{ name: "report", type: "string" }], rows, { maxGroupBytes: 4 << 20 });
  assertEquals((await readMetadata(path)).row_groups.map(({ num_rows }) => Number(num_rows)), [4, 4, 4, 4, 4]);
  assertEquals(await readRows(path), rows);
});

Deno.test("TableWriter puts no value into the footer", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "report.parquet");
  await writeTable(path, [{ name: "report", type: "string" }], [{ report: "Findings of one person" }]);
  const bytes = await Deno.readFile(path);
  const { metadata_length } = await readMetadata(path);
  const footer = new TextDecoder().decode(bytes.subarray(-metadata_length - 8));
  assert(!footer.includes("Findings"));
  assert(new TextDecoder().decode(bytes).includes("Findings"));
});

Deno.test("TableWriter keeps texts findable that UTF-16 and UTF-8 order differently", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "text.parquet");
  await writeTable(path, [{ name: "s", type: "string" }], [{ s: "\u{1f600}" }, { s: "\uff21" }, { s: "a" }]);
  for (const s of ["\u{1f600}", "\uff21", "a"]) {
    assertEquals(await queryParquet(path, `select s from rows where s = '${s}'`), [{ s }]);
  }
});

Deno.test("TableWriter takes names that objects have for their own", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "names.parquet");
  const columns = ["constructor", "toString", "__proto__", "a,b", "a.b", "ü"];
  const schema = columns.map((name) => ({ name, type: "string", optional: true } as const));
  const row = Object.fromEntries(columns.map((name) => [name, `value of ${name}`]));
  await writeTable(path, schema, [{}, row]);
  const list = columns.map((name) => `"${name}"`).join(", ");
  assertEquals(await queryParquet(path, `select [${list}] list from rows`), [
    { list: columns.map(() => null) },
    { list: columns.map((name) => `value of ${name}`) },
  ]);
});

Deno.test("TableWriter says in the footer who wrote what", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "a.parquet");
  await writeTable(path, REQUIRED, [{ s: "a", i32: 1 }], { metadata: { "pixl.project": "a-project" } });
  const { key_value_metadata = [] } = await readMetadata(path);
  assertEquals(Object.fromEntries(key_value_metadata.map(({ key, value }) => [key, value])), {
    "pixl.project": "a-project",
    "pixl.writer": `@pixl/core ${VERSION}`,
    "pixl.rows": "1",
  });
});

for (const compression of ["none", "snappy", "gzip", "zstd"] as const) {
  Deno.test(`TableWriter compresses with ${compression}`, async () => {
    await using dir = await temporaryFolder();
    const path = join(dir.path, "a.parquet");
    await writeTable(path, REQUIRED, [{ s: "a".repeat(10_000), i32: 1 }], { compression });
    const [group] = (await readMetadata(path)).row_groups;
    const names = { none: "UNCOMPRESSED", snappy: "SNAPPY", gzip: "GZIP", zstd: "ZSTD" } as const;
    assertEquals(group?.columns.map(({ meta_data }) => meta_data?.codec), [names[compression], names[compression]]);
    assertEquals((await Deno.stat(path)).size < 5_000, compression !== "none");
    assertEquals(await queryParquet(path, "select length(s)::int n from rows"), [{ n: 10_000 }]);
  });
}

const BAD: readonly (readonly [string, unknown])[] = [
  ["s", 1],
  ["s", "\ud800"],
  ["s", ["a"]],
  ["i32", 1.5],
  ["i32", 2 ** 31],
  ["i32", -(2 ** 31) - 1],
  ["i32", "1"],
  ["i32", NaN],
  ["i64", 2 ** 53],
  ["i64", 2n ** 63n],
  ["i64", -(2n ** 63n) - 1n],
  ["i64", 0.5],
  ["i64", "1"],
  ["f", NaN],
  ["f", "0.5"],
  ["b", "false"],
  ["b", 0],
  ["d", "2024-02-30"],
  ["d", "2024-3-5"],
  ["d", "2024-03-05T00:00:00"],
  ["d", 19787],
  ["d", new Date(0)],
  ["t", new Date(NaN)],
  ["t", "2024-02-30T00:00:00"],
  ["t", "2024-03-05"],
  ["t", 0],
  ["dec", "0.291"],
  ["dec", 0.1 + 0.2],
  ["dec", "123456789.00"],
  ["dec", "1e3"],
  ["dec", ""],
  ["dec", NaN],
  ["dec", true],
  ["j", withUndefined({})],
  ["j", { a: NaN }],
  ["j", [new Date(0)]],
  ["j", 1n],
  ["j", () => 0],
  ["j", "\ud800"],
  ["j", deep(200)],
  ["l", 1],
  ["l", "12"],
  ["l", [1, null]],
  ["l", ["1"]],
];

/** A member that JSON leaves out. */
function withUndefined(value: Record<string, unknown>): unknown {
  return { ...value, a: undefined };
}

function deep(levels: number): unknown {
  return levels === 0 ? 1 : [deep(levels - 1)];
}

/** What a caller without types may pass. */
function untyped<S extends TableSchema = typeof ALL>(rows: unknown): Iterable<Row<S>> {
  return rows as Iterable<Row<S>>;
}

for (const [name, value] of BAD) {
  Deno.test(`TableWriter refuses ${Deno.inspect(value).slice(0, 40)} in column '${name}'`, async () => {
    await using dir = await temporaryFolder();
    const error = await assertRejects(
      () => writeTable(join(dir.path, "bad.parquet"), ALL, untyped([{}, { [name]: value }, {}])),
      TableError,
      `Cannot write row 2: column '${name}' must be`,
    );
    assertEquals(error.code, "bad-value");
    assertEquals(await names(dir.path), []);
  });
}

Deno.test("TableWriter does not tell the value that it refuses", async () => {
  await using dir = await temporaryFolder();
  for (const name of ["i32", "i64", "f", "b", "d", "t"]) {
    const error = await assertRejects(
      () => writeTable(join(dir.path, "bad.parquet"), ALL, untyped([{ [name]: "ACCSEED1" }])),
      TableError,
    );
    assert(!Deno.inspect(error).includes("ACCSEED"));
  }
});

Deno.test("TableWriter refuses a row that lacks a value or has an unknown one", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "bad.parquet");
  const write = (rows: unknown) => writeTable(path, REQUIRED, untyped<typeof REQUIRED>(rows));
  await assertRejects(() => write([{ s: "a" }]), TableError, "Cannot write row 1: column 'i32' must have a value");
  await assertRejects(() => write([{ s: null }]), TableError, "Cannot write row 1: column 's' must have a value");
  await assertRejects(() => write([null]), TableError, "Cannot write row 1: it must be an object");
  await assertRejects(() => writeTable(path, ALL, untyped([{ S: "a" }])), TableError, "there is no column 'S'");
  assertEquals(await names(dir.path), []);
});

Deno.test("TableWriter refuses a schema without columns or with a name twice", async () => {
  const column = { name: "a", type: "string" } as const;
  for (
    const schema of [
      [],
      [column, column],
      [{ ...column, name: "" }],
      [{ ...column, name: "\ud800" }],
      [{ ...column, list: true }, { ...column, name: "a,list,element" }],
      ...(["decimal(0,0)", "decimal(39,0)", "decimal(5,6)", "text"] as const).map((
        type,
      ) => [{ name: "a", type } as never]),
    ]
  ) {
    await assertRejects(() => writeTable("never.parquet", schema, []), TableError, "Cannot write");
  }
});

Deno.test("TableWriter keeps the old file and nothing else when the rows fail", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "kept.parquet");
  const schema = [{ name: "n", type: "int32" }] as const;
  await writeTable(path, schema, [{ n: 1 }]);
  const failing = (async function* () {
    for (let n = 0; n < 20_000; n++) yield { n };
    throw new TypeError("Connection lost");
  })();
  await assertRejects(() => writeTable(path, schema, failing), TypeError, "Connection lost");
  assertEquals(await names(dir.path), ["kept.parquet"]);
  assertEquals(await readRows(path), [{ n: 1 }]);
});

Deno.test("TableWriter leaves nothing when it is aborted, and closes the rows", async () => {
  await using dir = await temporaryFolder();
  const controller = new AbortController();
  let closed = false;
  const endless = (function* () {
    try {
      for (let n = 0;; n++) {
        if (n === 10_000) controller.abort(new Error("Stop"));
        yield { n };
      }
    } finally {
      closed = true;
    }
  })();
  const path = join(dir.path, "aborted.parquet");
  const { signal } = controller;
  await assertRejects(() => writeTable(path, [{ name: "n", type: "int32" }], endless, { signal }), Error, "Stop");
  assertEquals([await names(dir.path), closed], [[], true]);
});

Deno.test("TableWriter says so when its folder is missing", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "missing", "a.parquet");
  const error = await assertRejects(() => writeTable(path, ALL, []), TableError, "its folder must be there");
  assertEquals(error.code, "write-refused");
});

Deno.test({
  name: "TableWriter reports a full disk as one error",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    await using full = await open("/dev/full", "w");
    const rows = Array.from({ length: 20_000 }, (_, i32) => ({ i32 }));
    const limits = { rows: 8192, bytes: 1e6, compression: "snappy", metadata: {} } as const;
    const error = await assertRejects(
      async () => await (await RowWriter.begin("/data/a.parquet", new FileSink(full), ALL, limits)).write(rows),
      TableError,
      "Cannot write '/data/a.parquet' (ENOSPC)",
    );
    assertEquals([error.code, error.kind], ["write-failed", "unavailable"]);
  },
});

Deno.test({
  name: "TableWriter writes a file that only its owner can read",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await using dir = await temporaryFolder();
    const path = join(dir.path, "a.parquet");
    await writeTable(path, ALL, []);
    assertEquals(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
  },
});

Deno.test("TableWriter writes the same bytes for the same rows", async () => {
  await using dir = await temporaryFolder();
  const rows = Array.from({ length: 9_000 }, (_, n) => ({ i32: n, s: `v${n}` }));
  const first = await writeTable(join(dir.path, "a.parquet"), ALL, rows);
  assertEquals(await writeTable(join(dir.path, "b.parquet"), ALL, rows, { maxGroupBytes: Infinity }), first);
});

Deno.test("TableWriter refuses row groups of more than 8192 rows", async () => {
  for (const maxGroupRows of [0, 8193, 1.5, NaN]) {
    await assertRejects(
      () => writeTable("never.parquet", ALL, [], { maxGroupRows }),
      RangeError,
      "'maxGroupRows' must be",
    );
  }
  await assertRejects(
    () => writeTable("never.parquet", ALL, [], { maxGroupBytes: NaN }),
    RangeError,
    "'maxGroupBytes' must be",
  );
});

Deno.test("TableWriter takes decimals that JavaScript writes with an exponent", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "a.parquet");
  const schema = [{ name: "small", type: "decimal(38,8)" }, { name: "great", type: "decimal(38,0)" }] as const;
  const rows = [{ small: 1e-7, great: 1e21 }, { small: -1.5e-7, great: -1.234e30 }, { small: 1e8, great: 0 }];
  await writeTable(path, schema, rows);
  assertEquals(await queryParquet(path, "select small::varchar small, great::varchar great from rows"), [
    { small: "0.00000010", great: `1${"0".repeat(21)}` },
    { small: "-0.00000015", great: `-1234${"0".repeat(27)}` },
    { small: "100000000.00000000", great: "0" },
  ]);
  for (const small of [1e-9, 1.25e-7 / 100, 5e-324, 1e31]) {
    await assertRejects(() => writeTable(path, schema, [{ small, great: 0 }]), TableError, "'small' must be");
  }
});

Deno.test("TableWriter types a row by its schema", () => {
  const row: Row<readonly [{ name: "a"; type: "int64" }, { name: "b"; type: "string"; optional: true }]> = { a: 1n };
  // @ts-expect-error -- 'a' must be there
  const without: typeof row = { b: "x" };
  // @ts-expect-error -- 'b' is text
  const wrong: typeof row = { a: 1, b: 2 };
  assert(row !== without && row !== wrong);
});

Deno.test("TableWriter.write() may be called again, and rows are counted through", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "a.parquet");
  await using writer = await TableWriter.open(path, REQUIRED);
  await writer.write([{ s: "a", i32: 1 }]);
  await writer.write((async function* () {
    yield { s: "b", i32: 2 };
  })());
  assertEquals([writer.rows, writer.path], [2, path]);
  assertEquals((await names(dir.path)).includes("a.parquet"), false);
  assertEquals((await writer.finish()).rows, 2);
  assertEquals(await readRows(path), [{ s: "a", i32: 1 }, { s: "b", i32: 2 }]);
});

Deno.test("TableWriter leaves nothing after a write that failed, and takes no more", async () => {
  await using dir = await temporaryFolder();
  await using writer = await TableWriter.open(join(dir.path, "a.parquet"), REQUIRED);
  await writer.write([{ s: "a", i32: 1 }]);
  const rows = untyped<typeof REQUIRED>([{ s: "a" }]);
  await assertRejects(() => writer.write(rows), TableError, "Cannot write row 2: column 'i32'");
  assertEquals(await names(dir.path), []);
  await assertRejects(() => writer.write([]), TypeError, "it is closed");
  await assertRejects(() => writer.finish(), TypeError, "it is closed");
  assertEquals(await names(dir.path), []);
});

Deno.test("TableWriter leaves nothing when it is disposed of without finish()", async () => {
  await using dir = await temporaryFolder();
  {
    await using writer = await TableWriter.open(join(dir.path, "a.parquet"), REQUIRED);
    await writer.write([{ s: "a", i32: 1 }]);
  }
  assertEquals(await names(dir.path), []);
});

Deno.test("TableWriter.write() refuses a second call before the first has ended", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "a.parquet");
  await using writer = await TableWriter.open(path, REQUIRED);
  const { promise, resolve } = Promise.withResolvers<{ s: string; i32: number }>();
  const first = writer.write((async function* () {
    yield await promise;
  })());
  await assertRejects(() => writer.write([]), TypeError, "wait until the call before");
  await assertRejects(() => writer.finish(), TypeError, "wait until the call before");
  resolve({ s: "a", i32: 1 });
  await first;
  await writer.finish();
  assertEquals(await readRows(path), [{ s: "a", i32: 1 }]);
});
