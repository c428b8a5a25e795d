import { DuckDBInstance } from "@duckdb/node-api";
import { asyncBufferFromFile, type FileMetaData, parquetMetadataAsync, parquetReadObjects } from "hyparquet";

/** Reads a parquet file by hyparquet. */
export async function readRows(path: string): Promise<Record<string, unknown>[]> {
  return await parquetReadObjects({ file: await asyncBufferFromFile(path) });
}

/** Reads its footer. */
export async function readMetadata(path: string): Promise<FileMetaData> {
  return await parquetMetadataAsync(await asyncBufferFromFile(path));
}

/** Asks DuckDB about a parquet file, which the SQL calls `rows`; the answers are JSON values. */
export async function queryParquet(path: string, sql: string): Promise<Record<string, unknown>[]> {
  const instance = await DuckDBInstance.create(":memory:");
  const connection = await instance.connect();
  try {
    await connection.run(`create view rows as select * from read_parquet('${path.replaceAll("'", "''")}')`);
    const reader = await connection.runAndReadAll(sql);
    return reader.getRowObjectsJson();
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

/** Runs SQL in DuckDB, to write files that others would write. */
export async function runSql(...statements: readonly string[]): Promise<void> {
  const instance = await DuckDBInstance.create(":memory:");
  const connection = await instance.connect();
  try {
    for (const sql of statements) await connection.run(sql);
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}
