import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";
import { join } from "node:path";
import { dayFromNumber } from "../../src/calendar.ts";
import type { Column, Compression, JsonValue, TableWriterOptions } from "../../src/exports/mod.ts";
import { type Cell, openDuckDb, readByArrow, readByHyparquet, scaled } from "./readers.ts";
import { readMetadata } from "./read_back.ts";
import { temporaryFolder } from "./temporary_folder.ts";
import { writeTable } from "./write_table.ts";

/** A value as it is given to the writer, the cell that readers must find, and the same in DuckDB's SQL. */
interface Sample {
  readonly value: unknown;
  readonly cell: Cell;
  readonly sql?: string;
}

interface Table {
  readonly schema: readonly Column[];
  /** One sample a column, null where there is none. */
  readonly rows: readonly (readonly Sample[])[];
  readonly options: TableWriterOptions;
}

const NONE: Sample = { value: null, cell: null };

type DuckDb = Awaited<ReturnType<typeof openDuckDb>>;

/**
 * Writes the table and asks every reader for every cell; then DuckDB for the rows that are equal to, below and above each value, or the first few of
 * them, by which statistics could lose rows.
 */
async function assertRoundTrip(
  duckDb: DuckDb,
  path: string,
  { schema, rows, options }: Table,
  probes = Infinity,
): Promise<void> {
  const names = schema.map(({ name }) => name);
  const objects = rows.map((row) => Object.fromEntries(row.map(({ value }, i) => [names[i] ?? "", value])));
  const { rows: written } = await writeTable(path, schema, objects as never, options);
  const expected = rows.map((row) => row.map(({ cell }) => cell));

  assertEquals(written, rows.length);
  assertEquals(await duckDb.read(path), expected, "DuckDB");
  assertEquals(await readByArrow(path), expected, "parquet-wasm");
  const asDoubles = (row: Cell[]) => row.map((cell, i) => isDecimal(schema[i]) ? roughly(cell) : cell);
  assertEquals((await readByHyparquet(path)).map(asDoubles), expected.map(asDoubles), "hyparquet");

  await duckDb.ask(`create or replace temp table memory as from read_parquet('${path}')`);
  for (const [i, { name, list, type }] of schema.entries()) {
    const column = `"${name}"`;
    const count = async (condition: string) =>
      (await duckDb.ask(`select count(*) from read_parquet('${path}') where ${condition}`))[0]?.[0];
    const having = (test: (cell: Cell) => boolean) => String(expected.filter((row) => test(row[i] ?? null)).length);
    assertEquals(await count(`${column} is null`), having((cell) => cell === null));
    if (list || type === "json") continue;
    const values = new Set(rows.map((row) => row[i]?.sql).filter((sql) => sql !== undefined));
    const conditions = [...values].slice(0, probes).flatMap((sql) =>
      ["=", "<", ">"].map((op) => `${column} ${op} ${sql}`)
    );
    const ask = (source: string) =>
      duckDb.ask(`select ${conditions.map((is) => `(select count(*) from ${source} where ${is})`).join(", ")}`);
    if (conditions.length === 0) continue;
    // In memory there are no statistics of ours; that its cells are right was seen above.
    assertEquals(await ask(`read_parquet('${path}')`), await ask("memory"), conditions.join(", "));
  }
}

function isDecimal(column: Column | undefined): boolean {
  return column?.type.startsWith("decimal") === true;
}

/** What is left of a decimal when a reader makes a double of it. */
function roughly(cell: Cell): Cell {
  return typeof cell === "string" ? Number(cell).toPrecision(12) : cell && cell.map(roughly);
}

/** SQL takes no NUL in a text. */
const quoted = (text: string) => `('${text.replaceAll("'", "''").replaceAll("\0", "' || chr(0) || '")}')`;
const micros = (value: string | Date, text: string) => ({ value, cell: text, sql: `make_timestamp(${text})` });
const numeric = (value: number | bigint, type: string): Sample => {
  const cell = Object.is(value, -0) ? "-0" : String(value);
  return { value, cell, sql: `'${cell}'::${type}` };
};
const text = (value: string): Sample => ({ value, cell: value, sql: quoted(value) });
const day = (value: string): Sample => ({ value, cell: value, sql: `date '${value}'` });
const decimal = (value: bigint, precision: number, scale: number): Sample => {
  const cell = scaled(value, scale);
  return { value: cell, cell, sql: `'${cell}'::decimal(${precision},${scale})` };
};
const json = (value: JsonValue): Sample => ({ value, cell: JSON.stringify(value) });

/** Every type at its edges. */
const EDGES: readonly (readonly [Column["type"], readonly Sample[]])[] = [
  ["string", ["", "a", "\u{1f600}", "\uff21", "\uffee", "\u{10ffff}", "e\u0301", "\0", "'", "x".repeat(300)].map(text)],
  ["int32", [-(2 ** 31), -1, 0, 1, 2 ** 31 - 1].map((n) => numeric(n, "int"))],
  [
    "int64",
    [-(2n ** 63n), -(2n ** 53n) - 1n, -1n, 0, 2 ** 53 - 1, 2n ** 53n + 1n, 2n ** 63n - 1n].map((n) =>
      numeric(n, "bigint")
    ),
  ],
  [
    "double",
    [-Infinity, -1.7976931348623157e308, -0, 0, 5e-324, 0.1, 2 ** 53, Infinity].map((n) => numeric(n, "double")),
  ],
  ["boolean", [true, false].map((value) => ({ value, cell: String(value), sql: String(value) }))],
  ["date", ["0001-01-01", "1582-10-04", "1955-03-03", "1969-12-31", "1970-01-01", "2024-02-29", "9999-12-31"].map(day)],
  ["timestamp", [
    micros("1955-03-03T23:30:00.123456", "-468030599876544"),
    micros("1969-12-31T23:59:59.999999Z", "-1"),
    micros(new Date(0), "0"),
    micros("1970-01-01T01:00:00.000001+01:00", "1"),
    micros(new Date("1955-03-03T23:30:00.123Z"), "-468030599877000"),
    micros("9999-12-31T23:59:59.999999", "253402300799999999"),
  ]],
  ["decimal(10,2)", [-9999999999n, -1n, 0n, 29n, 115n, 435n, 820n, 9999999999n].map((n) => decimal(n, 10, 2))],
  ["decimal(18,18)", [-(10n ** 18n) + 1n, 1n, 10n ** 18n - 1n].map((n) => decimal(n, 18, 18))],
  [
    "decimal(38,4)",
    [-(10n ** 38n) + 1n, -(2n ** 64n), -1n, 0n, 2n ** 63n, 10n ** 38n - 1n].map((n) => decimal(n, 38, 4)),
  ],
  ["json", [json({}), json([1, [null, "\u{1f600}"]]), json("a"), json(0.1), json({ "__proto__": 1, b: { c: [] } })]],
];

Deno.test("TableWriter writes every type at its edges, alone and in one group, for every reader", async () => {
  await using dir = await temporaryFolder();
  await using duckDb = await openDuckDb();
  const path = join(dir.path, "a.parquet");
  for (const [type, samples] of EDGES) {
    for (const optional of [false, true]) {
      const column: Column = { name: "value", type, optional, statistics: true };
      const rows = (optional ? [NONE, ...samples, NONE] : samples).map((sample) => [sample]);
      for (const maxGroupRows of [1, 8192]) {
        await assertRoundTrip(duckDb, path, { schema: [column], rows, options: { maxGroupRows } });
      }
    }
  }
});

const ALL_TYPES = EDGES.map(([type, samples], i): [Column, readonly Sample[]] => [
  { name: `column${i}`, type, optional: true, statistics: true },
  samples,
]);

for (const count of [0, 1, 8191, 8192, 8193]) {
  Deno.test(`TableWriter writes ${count} rows of all types for every reader`, async () => {
    await using dir = await temporaryFolder();
    await using duckDb = await openDuckDb();
    const rows = Array.from(
      { length: count },
      (_, n) => ALL_TYPES.map(([, samples], i) => (n + i) % 5 === 0 ? NONE : samples[n % samples.length] ?? NONE),
    );
    const schema = ALL_TYPES.map(([column]) => column);
    await assertRoundTrip(duckDb, join(dir.path, "a.parquet"), { schema, rows, options: {} });
  });
}

Deno.test("TableWriter writes runs of values and nulls of any length for every reader", async () => {
  await using dir = await temporaryFolder();
  await using duckDb = await openDuckDb();
  const path = join(dir.path, "a.parquet");
  const schema: Column[] = [
    { name: "n", type: "int32", optional: true },
    { name: "all", type: "int32", optional: true, list: true },
  ];
  const one = numeric(1, "int");
  const lists: Sample[] = [NONE, { value: [], cell: [] }, { value: [1, 1], cell: ["1", "1"] }];
  const runs = fc.array(fc.tuple(fc.nat(2), fc.oneof(fc.constantFrom(1, 7, 8, 9, 15, 16, 17, 24, 31), fc.nat(300))), {
    maxLength: 20,
  });
  await fc.assert(
    fc.asyncProperty(runs, async (runs) => {
      const rows = runs.flatMap(([kind, length]) => Array(length).fill([kind === 0 ? NONE : one, lists[kind] ?? NONE]));
      await assertRoundTrip(duckDb, path, { schema, rows, options: {} }, 1);
    }),
    { numRuns: 60, examples: [[[[0, 8192 - 8], [1, 8], [2, 16], [0, 15]]]] },
  );
});

Deno.test("TableWriter writes columns of nulls only, and very long texts, for every reader", async () => {
  await using dir = await temporaryFolder();
  await using duckDb = await openDuckDb();
  const path = join(dir.path, "a.parquet");
  const nulls = Array.from({ length: 5_000 }, () => ALL_TYPES.map(() => NONE));
  await assertRoundTrip(duckDb, path, { schema: ALL_TYPES.map(([column]) => column), rows: nulls, options: {} });
  const long = ["a", "\u{1f600}", "\uff21"].map((letter) => {
    const value = letter.repeat(1 << 19);
    return [{ value, cell: value }];
  });
  const schema: Column[] = [{ name: "report", type: "string", statistics: true }];
  await assertRoundTrip(duckDb, path, { schema, rows: long, options: { maxGroupBytes: 1 } });
});

/** Names that differ for DuckDB, which ignores case. */
const NAMES = [
  "constructor",
  "__proto__",
  "toString",
  "a.b",
  "a,list,element",
  "a",
  "ü",
  "\u{1f600}",
  "with blank",
  "0",
];

const int64 = fc.oneof(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), fc.bigInt(-3n, 3n));
const SAMPLES: Readonly<Record<string, fc.Arbitrary<Sample>>> = {
  string: fc.oneof(fc.string({ unit: "binary", maxLength: 4 }), fc.constantFrom("", "a", "\u{1f600}", "\uff21")).map(
    text,
  ),
  int32: fc.oneof(fc.integer(), fc.integer({ min: -3, max: 3 })).map((n) => numeric(n, "int")),
  int64: int64.map((n) => numeric(n, "bigint")),
  double: fc.double({ noNaN: true }).map((n) => numeric(n, "double")),
  boolean: fc.boolean().map((value) => ({ value, cell: String(value), sql: String(value) })),
  date: fc.integer({ min: -719162, max: 2932896 }).map((n) => day(dayFromNumber(n))),
  timestamp: fc.date({ min: new Date("0001-01-01"), max: new Date("9999-12-31"), noInvalidDate: true })
    .map((date) => micros(date, String(BigInt(date.getTime()) * 1_000n))),
  "decimal(9,3)": fc.bigInt(-(10n ** 9n) + 1n, 10n ** 9n - 1n).map((n) => decimal(n, 9, 3)),
  "decimal(30,0)": fc.bigInt(-(10n ** 30n) + 1n, 10n ** 30n - 1n).map((n) => decimal(n, 30, 0)),
  json: fc.jsonValue({ maxDepth: 2 })
    .filter((value) => value !== null && !JSON.stringify(value, (_, v) => Object.is(v, -0) ? "-0" : v).includes("-0"))
    .map((value) => json(value as JsonValue)),
};

const column = fc.record({
  type: fc.constantFrom(...Object.keys(SAMPLES)) as fc.Arbitrary<Column["type"]>,
  optional: fc.boolean(),
  list: fc.boolean(),
  statistics: fc.boolean(),
});

const table: fc.Arbitrary<Table> = fc.record({
  names: fc.uniqueArray(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 4 }),
  columns: fc.array(column, { minLength: 4, maxLength: 4 }),
  options: fc.record({
    maxGroupRows: fc.integer({ min: 1, max: 9 }),
    compression: fc.constantFrom<Compression>("none", "snappy", "gzip", "zstd"),
  }),
}).filter(({ names, columns }) => !names.some((name, i) => name === "a" && columns[i]?.list)).chain(
  ({ names, columns, options }) => {
    const schema = names.map((name, i): Column => ({ name, type: "string", ...columns[i] }));
    const samples = schema.map(({ type, optional, list }) => {
      const one = SAMPLES[type] ?? fc.constant(NONE);
      const any = list
        ? fc.array(one, { maxLength: 3 }).map((all): Sample => ({
          value: all.map(({ value }) => value),
          cell: all.map(({ cell }) => cell),
        }))
        : one;
      return optional ? fc.oneof(fc.constant(NONE), any) : any;
    });
    return fc.array(fc.tuple(...samples), { maxLength: 30 }).map((rows) => ({ schema, rows, options }));
  },
);

Deno.test("TableWriter writes any table so that every reader finds the same", async () => {
  await using dir = await temporaryFolder();
  await using duckDb = await openDuckDb();
  const path = join(dir.path, "a.parquet");
  await fc.assert(fc.asyncProperty(table, (any) => assertRoundTrip(duckDb, path, any, 6)), { numRuns: 150 });
});

Deno.test("TableWriter writes statistics by which hyparquet finds every row too", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "a.parquet");
  const rows = Array.from({ length: 40 }, (_, i) => ({ id: (i * 7) % 40 - 20, s: `v${(i * 11) % 40}` }));
  const schema = [{ name: "id", type: "int64" }, { name: "s", type: "string", statistics: true }] as const;
  await writeTable(path, schema, rows, { maxGroupRows: 4 });
  const file = await asyncBufferFromFile(path);
  for (const { id, s } of rows) {
    const found = [{ id: BigInt(id), s }];
    assertEquals(await parquetReadObjects({ file, filter: { id: { $eq: BigInt(id) } } }), found);
    assertEquals(await parquetReadObjects({ file, filter: { s: { $eq: s } } }), found);
  }
});

Deno.test("TableWriter writes statistics of all types but text, and of text when asked", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "a.parquet");
  const schema = [
    { name: "n", type: "int32", optional: true },
    { name: "free", type: "string" },
    { name: "id", type: "string", statistics: true },
    { name: "silent", type: "int32", statistics: false },
    { name: "j", type: "json", statistics: true },
  ] as const;
  const row = { free: "Report", silent: 1, j: [1] };
  await writeTable(path, schema, [{ ...row, n: 5, id: "b" }, { ...row, id: "\u{1f600}" }, {
    ...row,
    n: -5,
    id: "\uff21",
  }]);
  const [group] = (await readMetadata(path)).row_groups;
  const bounds = group?.columns.map(({ meta_data }) => {
    const { min_value, max_value, null_count } = meta_data?.statistics ?? {};
    return [min_value, max_value, null_count];
  });
  const none = [undefined, undefined, 0n];
  assertEquals(bounds, [[-5, 5, 1n], none, ["b", "\u{1f600}", 0n], none, none]);
});
