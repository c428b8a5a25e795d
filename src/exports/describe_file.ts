import { parquetSchema, type SchemaElement } from "hyparquet";
import { basename } from "node:path";
import type { ManifestFile } from "./manifest.ts";
import { openParquet, readable, readFooter } from "./parquet_file.ts";

/**
 * Says what a file holds, by its footer.
 *
 * @param path The file.
 * @param name Its name, also in errors. Hidden files and those that begin with `_` are none that a reader of the folder would take for a table's.
 * @returns Rows and columns of a parquet file; of any other, nulls.
 * @throws {ExtractError} `unreadable-parquet` if it is named as a parquet file and is none, or `access-refused`.
 */
export async function describeFile(path: string, name = path): Promise<Pick<ManifestFile, "rows" | "schema">> {
  if (!/^[^._].*\.parquet$/i.test(basename(name))) return { rows: null, schema: null };
  await using file = await openParquet(path);
  const metadata = await readFooter(file, name);
  return await readable(name, () => {
    const schema = parquetSchema(metadata).children.map(({ element }) => ({
      name: element.name,
      type: typeOf(element),
      optional: element.repetition_type !== "REQUIRED",
    }));
    return { rows: Number(metadata.num_rows), schema };
  });
}

function typeOf({ type, converted_type, logical_type, precision, scale = 0 }: SchemaElement): string {
  const name = converted_type ?? logical_type?.type ?? type ?? "STRUCT";
  return name === "DECIMAL" ? `DECIMAL(${precision},${scale})` : name;
}
