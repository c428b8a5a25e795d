// @ts-types="./parquetjs.d.ts"
import thrift from "@dsnp/parquetjs/thrift";
import type { ParquetField, SchemaElement } from "./parquetjs.d.ts";
import { DECIMAL_BYTES } from "./encode_plain.ts";
import { type Column, columnPath, decimalSize, type TableSchema } from "./table_schema.ts";

/** How a type is written. */
interface Stored {
  readonly primitive: string;
  readonly converted?: string;
  readonly typeLength?: number;
}

const STORED: Readonly<Record<string, Stored>> = {
  string: { primitive: "BYTE_ARRAY", converted: "UTF8" },
  int32: { primitive: "INT32" },
  int64: { primitive: "INT64" },
  double: { primitive: "DOUBLE" },
  boolean: { primitive: "BOOLEAN" },
  date: { primitive: "INT32", converted: "DATE" },
  timestamp: { primitive: "INT64", converted: "TIMESTAMP_MICROS" },
  json: { primitive: "BYTE_ARRAY", converted: "JSON" },
};

/** What parquetjs calls the encoding of this package; it is written as PLAIN. */
export const ENCODING = "PLAIN_OF_PIXL";

/** Decimals of so many digits are INT64. */
const MAX_INT64_DIGITS = 18;

/**
 * Says how a column's type is written.
 *
 * @param column The column.
 * @returns Parquet's physical type, its converted type, and how long it is.
 */
export function storedAs({ type }: Column): Stored {
  const size = decimalSize(type);
  if (size === undefined) return STORED[type] ?? { primitive: "BYTE_ARRAY" };
  return size.precision <= MAX_INT64_DIGITS
    ? { primitive: "INT64", converted: "DECIMAL" }
    : { primitive: "FIXED_LEN_BYTE_ARRAY", converted: "DECIMAL", typeLength: DECIMAL_BYTES };
}

/**
 * Makes the fields by which parquetjs encodes pages. They are made here, since parquetjs keeps names as keys of plain objects.
 *
 * @param schema The columns.
 * @param compression parquetjs' name of it.
 * @returns One field for each column.
 */
export function parquetFields(schema: TableSchema, compression: string): ParquetField[] {
  return schema.map((column) => {
    const { name, optional = false, list = false } = column;
    const { primitive, typeLength } = storedAs(column);
    return {
      ...{ name, path: columnPath(column), primitiveType: primitive, encoding: ENCODING, compression },
      ...(typeLength === undefined ? {} : { typeLength }),
      ...{ statistics: false, rLevelMax: Number(list), dLevelMax: Number(optional) + Number(list), isNested: false },
    };
  });
}

/**
 * Makes the schema as the footer holds it: the tree from its root downwards.
 *
 * @param schema The columns.
 * @returns The elements; a list is three, the form that every reader takes for one.
 */
export function schemaElements(schema: TableSchema): SchemaElement[] {
  const root = new thrift.SchemaElement({ name: "root", num_children: schema.length });
  return [root, ...schema.flatMap((column) => column.list ? listElements(column) : [leaf(column, column.name)])];
}

function listElements(column: Column): SchemaElement[] {
  return [
    element({ name: column.name, num_children: 1 }, column.optional ? "OPTIONAL" : "REQUIRED", "LIST"),
    element({ name: "list", num_children: 1 }, "REPEATED"),
    leaf({ ...column, optional: false }, "element"),
  ];
}

function leaf(column: Column, name: string): SchemaElement {
  const { primitive, converted, typeLength } = storedAs(column);
  const values = {
    ...{ name, ...decimalSize(column.type) },
    ...number("type", thrift.Type[primitive]),
    ...number("type_length", typeLength),
  };
  return element(values, column.optional ? "OPTIONAL" : "REQUIRED", converted);
}

type Values = ConstructorParameters<typeof thrift.SchemaElement>[0];

function element(values: Values, repetition: string, converted?: string): SchemaElement {
  return new thrift.SchemaElement({
    ...values,
    ...number("repetition_type", thrift.FieldRepetitionType[repetition]),
    ...number("converted_type", converted === undefined ? undefined : thrift.ConvertedType[converted]),
  });
}

/** Only what is there is written. */
function number<K extends string>(key: K, value: number | undefined): { [P in K]?: number } {
  const part: { [P in K]?: number } = {};
  if (value !== undefined) part[key] = value;
  return part;
}
