/** One piece of work of the export benchmarks, in a process of its own, so that its memory can be told: `exports_work.ts WORK FOLDER`. */
import { DuckDBDateValue, DuckDBInstance, DuckDBTimestampValue } from "@duckdb/node-api";
import { ParquetSchema } from "@dsnp/parquetjs/schema";
import { ParquetWriter } from "@dsnp/parquetjs/writer";
import { join } from "node:path";
import { type Column, OmopExtract, ParquetExport, TableWriter } from "@pixl/core/exports";

/** Rows that are written, and procedures that are joined. */
export const ROWS = 1_000_000;
/** Bytes that are copied, in 16 files. */
export const COPY_BYTES = 1 << 30;

const [work = "", dir = ""] = Deno.args;
const DAY_MS = 86_400_000;
const DAYS = Array.from({ length: 1_000 }, (_, i) => new Date(Date.UTC(2020, 0, 1) + i * DAY_MS));
const REPORT = "The lungs are clear. No pleural effusion or pneumothorax. Heart size is normal. ".repeat(5).slice(
  0,
  385,
);

const SCHEMA = [
  ...[{ name: "id", type: "int64" }, { name: "person_id", type: "int64" }] as const,
  ...[{ name: "concept", type: "int32" }, { name: "value", type: "double" }, {
    name: "final",
    type: "boolean",
  }] as const,
  ...[{ name: "day", type: "date" }, { name: "taken", type: "timestamp" }] as const,
  ...[{ name: "pseudonym", type: "string" }, { name: "ward", type: "string", optional: true }] as const,
  { name: "report", type: "string" },
] as const satisfies readonly Column[];

/** Row `i`, with days and times as each writer takes them. */
function row<D, T>(i: number, days: readonly D[], times: readonly T[]) {
  return {
    id: i,
    person_id: i % 100_003,
    concept: i % 977,
    value: i / 7,
    final: i % 3 === 0,
    day: days[i % 1_000] as D,
    taken: times[i % 1_000] as T,
    pseudonym: `2.25.${i * 7919}`,
    ward: i % 5 === 0 ? null : `Ward ${i % 40}`,
    report: `Report ${i}: ${REPORT}`,
  };
}

async function writeOurs(): Promise<void> {
  const days = DAYS.map((day) => day.toISOString().slice(0, 10));
  // As the ledger gives reports.
  const rows = async function* () {
    for (let i = 0; i < ROWS; i++) yield row(i, days, DAYS);
  };
  await using writer = await TableWriter.open(join(dir, "ours.parquet"), SCHEMA);
  await writer.write(rows());
  await writer.finish();
}

async function writeByParquetjs(): Promise<void> {
  const types = { string: "UTF8", int32: "INT32", int64: "INT64", double: "DOUBLE", boolean: "BOOLEAN", date: "DATE" };
  const fields = SCHEMA.map((column) => {
    const type = column.type === "timestamp" ? "TIMESTAMP_MICROS" : types[column.type];
    return [column.name, { type, optional: "optional" in column, compression: "SNAPPY" }];
  });
  const schema = new ParquetSchema(Object.fromEntries(fields));
  const writer = await ParquetWriter.openFile(schema, join(dir, "parquetjs.parquet"));
  for (let i = 0; i < ROWS; i++) await writer.appendRow({ ...row(i, DAYS, DAYS) });
  await writer.close();
}

async function writeByDuckDb(): Promise<void> {
  const connection = await (await DuckDBInstance.create(":memory:")).connect();
  await connection.run(
    "create table t(id bigint, person_id bigint, concept int, value double, final boolean, day date, taken timestamp, pseudonym varchar, ward varchar, report varchar)",
  );
  const appender = await connection.createAppender("t");
  const days = DAYS.map((day) => new DuckDBDateValue(day.getTime() / DAY_MS));
  const times = DAYS.map((day) => new DuckDBTimestampValue(BigInt(day.getTime()) * 1_000n));
  for (let i = 0; i < ROWS; i++) {
    const values = row(i, days, times);
    appender.appendBigInt(BigInt(values.id));
    appender.appendBigInt(BigInt(values.person_id));
    appender.appendInteger(values.concept);
    appender.appendDouble(values.value);
    appender.appendBoolean(values.final);
    appender.appendDate(values.day);
    appender.appendTimestamp(values.taken);
    appender.appendVarchar(values.pseudonym);
    if (values.ward === null) appender.appendNull();
    else appender.appendVarchar(values.ward);
    appender.appendVarchar(values.report);
    appender.endRow();
  }
  appender.closeSync();
  await connection.run(`copy t to '${join(dir, "duckdb.parquet")}' (format parquet, codec snappy)`);
}

async function makeExtract(): Promise<void> {
  const connection = await (await DuckDBInstance.create(":memory:")).connect();
  await Deno.mkdir(join(dir, "private"), { recursive: true });
  await Deno.mkdir(join(dir, "public"), { recursive: true });
  const summary = { datetime: "2023-12-07 14:08:58", settings: { cdm_source_name: "Bench" } };
  await Deno.writeTextFile(join(dir, "extract_summary.json"), JSON.stringify(summary));
  const copy = (select: string, name: string) =>
    connection.run(`copy (${select}) to '${join(dir, name)}.parquet' (format parquet, codec snappy)`);
  await copy("select i person_id, 'M' || i PrimaryMrn from range(100000) t(i)", "private/PERSON_LINKS");
  await copy(
    `select i procedure_occurrence_id, 'A' || i AccessionNumber from range(${ROWS}) t(i)`,
    "private/PROCEDURE_OCCURRENCE_LINKS",
  );
  await copy(
    `select i procedure_occurrence_id, i % 100000 person_id, date '2010-01-01' + (i % 5000)::int procedure_date
    from range(${ROWS}) t(i)`,
    "public/PROCEDURE_OCCURRENCE",
  );
}

async function readStudies(): Promise<void> {
  const extract = await OmopExtract.open(dir);
  let count = 0;
  for await (const study of extract.studies()) count += Number(study.mrn !== "");
  if (count !== ROWS) throw new Error(`${count} studies`);
}

async function joinByDuckDb(): Promise<void> {
  const connection = await (await DuckDBInstance.create(":memory:")).connect();
  const table = (name: string) => `'${join(dir, name)}.parquet'`;
  const result = await connection.stream(
    `select PrimaryMrn, AccessionNumber, procedure_date::varchar, procedure_occurrence_id from ${
      table("public/PROCEDURE_OCCURRENCE")
    } join ${table("private/PROCEDURE_OCCURRENCE_LINKS")} using (procedure_occurrence_id) join ${
      table("private/PERSON_LINKS")
    } using (person_id)`,
  );
  let count = 0;
  for (let chunk = await result.fetchChunk(); chunk && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
    for (const [mrn, accession_number, study_date, id] of chunk.getRows()) {
      const study = { mrn, accession_number, study_date, procedure_occurrence_id: Number(id) };
      count += Number(study.mrn !== "");
    }
  }
  if (count !== ROWS) throw new Error(`${count} studies`);
}

async function makeFiles(): Promise<void> {
  await Deno.mkdir(join(dir, "public"), { recursive: true });
  const piece = crypto.getRandomValues(new Uint8Array(1 << 16));
  for (let i = 0; i < 16; i++) {
    using file = await Deno.open(join(dir, "public", `${i}.bin`), { write: true, create: true });
    for (let left = COPY_BYTES / 16; left > 0; left -= piece.length) await file.write(piece);
  }
}

async function copyOurs(): Promise<void> {
  await using parquetExport = new ParquetExport("bench", "2023-12-07T14:08:58", join(dir, ".."));
  await parquetExport.copyOmop({ publicDir: join(dir, "public") });
  await parquetExport.finish();
}

async function copyByCp(): Promise<void> {
  const command = 'cp -r "$0/public" "$0/copy" && sync';
  const { success } = await new Deno.Command("sh", { args: ["-c", command, dir] }).output();
  if (!success) throw new Error("cp failed");
}

const WORKS: Readonly<Record<string, () => Promise<void>>> = {
  ...{ "write-ours": writeOurs, "write-parquetjs": writeByParquetjs, "write-duckdb": writeByDuckDb },
  ...{ "make-extract": makeExtract, "studies-ours": readStudies, "studies-duckdb": joinByDuckDb },
  ...{ "make-files": makeFiles, "copy-ours": copyOurs, "copy-cp": copyByCp },
};

if (import.meta.main) {
  const started = performance.now();
  await WORKS[work]?.();
  const seconds = (performance.now() - started) / 1_000;
  const peak = /VmHWM:\s*(\d+) kB/.exec(await Deno.readTextFile("/proc/self/status").catch(() => ""))?.[1] ?? "0";
  // deno-lint-ignore no-console -- what the parent reads
  console.log(JSON.stringify({ seconds, peakMb: Number(peak) / 1_024 }));
}
