// What is used of @dsnp/parquetjs. Its own types say `number[]` of all values and bring those of 90 packages.
import type { Encodable } from "./table_schema.ts";

export interface ParquetField {
  name: string;
  path: string[];
}

export class ParquetSchema {
  constructor(
    schema: Record<
      string,
      { type: string; optional: boolean; compression: "SNAPPY"; statistics: false }
    >,
  );
  readonly fieldList: readonly ParquetField[];
}

export interface RowBuffer {
  rowCount: number;
  pageRowCount: number;
  columnData: Record<
    string,
    {
      values: Encodable[];
      dlevels: number[];
      rlevels: number[];
      distinct_values: Set<never>;
      count: number;
    }
  >;
  pages: Record<string, never[]>;
}

export interface Output {
  write(chunk: Uint8Array, done: (error?: unknown) => void): void;
  end(done: (error?: unknown) => void): void;
}

export class ParquetEnvelopeWriter {
  static openStream(
    schema: ParquetSchema,
    output: Output,
    options: { pageIndex: false; pageSize: number },
  ): Promise<ParquetEnvelopeWriter>;
  bloomFilters: Record<string, never>;
  writeHeader(): Promise<unknown>;
  writeBloomFilters(): void;
  writeIndex(): void;
  writeFooter(metadata: Record<string, never>): Promise<unknown>;
  close(): unknown;
}

export class ParquetWriter {
  constructor(schema: ParquetSchema, file: ParquetEnvelopeWriter, options: Record<string, never>);
  rowBuffer: RowBuffer;
  close(): Promise<void>;
}
