import { ParquetSchema } from "@dsnp/parquetjs/schema";
import { ParquetWriter } from "@dsnp/parquetjs/writer";
import { join } from "node:path";
import { writeTable } from "@pixl/core/exports";
import { type BenchRow, compare, perSecond } from "./bench.ts";

const ROWS = 50_000;

interface Report {
  readonly image_identifier: string;
  readonly procedure_occurrence_id: number;
  readonly image_report: string;
}

function* reports(): Generator<Report> {
  for (let i = 0; i < ROWS; i++) {
    yield {
      image_identifier: `2.25.${i}`,
      procedure_occurrence_id: i,
      image_report: `Report ${i}: no abnormality seen. `.repeat(12),
    };
  }
}

/** Writing radiology reports. */
export async function benchExports(): Promise<BenchRow[]> {
  const dir = await Deno.makeTempDir({ prefix: "pixl-bench-" });
  try {
    return [
      await compare({
        area: "exports",
        name: "write radiology rows",
        unit: "rows/s",
        goal: 1.2,
        rounds: 3,
        ours: () =>
          perSecond(ROWS, () =>
            writeTable(join(dir, "ours.parquet"), [
              { name: "image_identifier", type: "string" },
              { name: "procedure_occurrence_id", type: "int64" },
              { name: "image_report", type: "string" },
            ], reports())),
        peers: {
          parquetjs: () => perSecond(ROWS, () => appendRows(join(dir, "parquetjs.parquet"))),
        },
      }),
    ];
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function appendRows(path: string): Promise<void> {
  const schema = new ParquetSchema({
    image_identifier: { type: "UTF8", compression: "SNAPPY" },
    procedure_occurrence_id: { type: "INT64", compression: "SNAPPY" },
    image_report: { type: "UTF8", compression: "SNAPPY" },
  });
  const writer = await ParquetWriter.openFile(schema, path);
  for (const row of reports()) await writer.appendRow({ ...row });
  await writer.close();
}
