import {
  type Row,
  type TableSchema,
  TableWriter,
  type TableWriterOptions,
  type WrittenFile,
} from "../../src/exports/mod.ts";

/** Writes all rows of a file by a `TableWriter`. */
export async function writeTable<const S extends TableSchema>(
  path: string,
  schema: S,
  rows: Iterable<Row<NoInfer<S>>> | AsyncIterable<Row<NoInfer<S>>>,
  options: TableWriterOptions = {},
): Promise<WrittenFile> {
  await using writer = await TableWriter.open(path, schema, options);
  await writer.write(rows);
  return await writer.finish();
}
