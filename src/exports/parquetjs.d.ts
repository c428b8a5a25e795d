// What is used of @dsnp/parquetjs. Its own types say `number[]` of all values and bring those of 90 packages.
export interface ParquetField {
  name: string;
  path: string[];
  primitiveType?: string;
  typeLength?: number;
  encoding: string;
  compression: string;
  statistics: false;
  rLevelMax: number;
  dLevelMax: number;
  isNested: boolean;
}

export interface ParquetSchema {
  fieldList: readonly ParquetField[];
}

export interface RowBuffer {
  rowCount: number;
  pageRowCount: number;
  columnData: Record<
    string,
    {
      values: readonly (string | number | bigint | boolean)[];
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

export interface RowGroupMetadata {
  columns: { meta_data: { statistics?: Statistics } }[];
}

export class ParquetEnvelopeWriter {
  static openStream(
    schema: ParquetSchema,
    output: Output,
    options: { pageIndex: false; pageSize: number },
  ): Promise<ParquetEnvelopeWriter>;
  bloomFilters: Record<string, never>;
  rowCount: unknown;
  rowGroups: RowGroupMetadata[];
  writeHeader(): Promise<unknown>;
  writeSection(bytes: Uint8Array): Promise<unknown>;
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

export const PARQUET_COMPRESSION_METHODS: Record<
  string,
  { deflate(bytes: Uint8Array): Uint8Array; inflate(bytes: Uint8Array): Uint8Array }
>;

export function serializeThrift(value: FileMetaData): Uint8Array;

export class Statistics {
  constructor(values: { null_count: number; min_value?: Uint8Array; max_value?: Uint8Array });
}

export class SchemaElement {
  constructor(values: {
    name: string;
    type?: number;
    type_length?: number;
    repetition_type?: number;
    num_children?: number;
    converted_type?: number;
    scale?: number;
    precision?: number;
  });
}

declare class KeyValue {
  constructor(values: { key: string; value: string });
}

declare class ColumnOrder {
  constructor(values: { TYPE_ORDER: Record<string, never> });
}

export class FileMetaData {
  version: number;
  schema: SchemaElement[];
  num_rows: unknown;
  row_groups: RowGroupMetadata[];
  key_value_metadata: KeyValue[];
  created_by: string;
  column_orders: ColumnOrder[];
}

/** The encodings by name. */
export interface Codecs {
  RLE: {
    encodeValues(
      type: string,
      values: readonly number[],
      options: { bitWidth: number; disableEnvelope?: true },
    ): Uint8Array;
  };
  [name: string]: { encodeValues(type: string, values: readonly never[], options: never): Uint8Array };
}

/** The structs of parquet.thrift, a CommonJS module. */
declare const thrift: {
  Type: Record<string, number>;
  ConvertedType: Record<string, number>;
  Encoding: Record<string, number>;
  FieldRepetitionType: Record<string, number>;
  Statistics: typeof Statistics;
  SchemaElement: typeof SchemaElement;
  KeyValue: typeof KeyValue;
  ColumnOrder: typeof ColumnOrder;
  FileMetaData: typeof FileMetaData;
};
export default thrift;
