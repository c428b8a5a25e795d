import { TableError } from "./errors.ts";
import type { ColumnValues } from "./parquet_encoder.ts";
import { type Converter, converterOf, type Encodable } from "./column_values.ts";
import type { TableSchema } from "./table_schema.ts";

interface OpenColumn {
  readonly name: string;
  readonly optional: boolean;
  readonly list: boolean;
  readonly convert: Converter;
  readonly wanted: string;
  values: Encodable[];
  definitions: number[];
  repetitions: number[];
}

/** Collects rows by column, checking every value. */
export class RowGroup {
  readonly #columns: readonly OpenColumn[];
  #rows = 0;
  #bytes = 0;

  /** @param schema The columns. */
  constructor(schema: TableSchema) {
    this.#columns = schema.map(({ name, type, optional = false, list = false }) => {
      const [convert, wanted] = converterOf(type);
      return { name, optional, list, convert, wanted, values: [], definitions: [], repetitions: [] };
    });
  }

  /** How many rows it has. */
  get rows(): number {
    return this.#rows;
  }

  /** About how many bytes they are. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Gives away what it has and is empty again. */
  take(): { rows: number; columns: readonly ColumnValues[] } {
    const columns = this.#columns.map(({ values, definitions, repetitions }) => ({ values, definitions, repetitions }));
    const taken = { rows: this.#rows, columns };
    for (const column of this.#columns) {
      column.values = [];
      column.definitions = [];
      column.repetitions = [];
    }
    this.#rows = this.#bytes = 0;
    return taken;
  }

  /**
   * Adds a row.
   *
   * @param row Values by the names of the columns.
   * @param number Its number, for errors.
   * @throws {TableError} `bad-value`.
   */
  add(row: unknown, number: number): void {
    if (typeof row !== "object" || row === null) throw bad(number, "it must be an object");
    const record = row as Readonly<Record<string, unknown>>;
    let known = 0;
    for (const column of this.#columns) {
      const has = Object.hasOwn(record, column.name);
      if (has) known++;
      this.#put(column, has ? record[column.name] : undefined, number);
    }
    if (Object.keys(record).length !== known) {
      const name = Object.keys(record).find((key) => this.#columns.every((column) => column.name !== key));
      throw bad(number, `there is no column '${name}'`);
    }
    this.#rows++;
  }

  #put(column: OpenColumn, value: unknown, number: number): void {
    const { optional, list, definitions, repetitions } = column;
    if (value === null || value === undefined) {
      if (!optional) throw bad(number, `column '${column.name}' must have a value`);
      definitions.push(0);
      if (list) repetitions.push(0);
      return;
    }
    const present = Number(optional);
    if (!list) {
      this.#putValue(column, value, number);
      definitions.push(1);
      return;
    }
    if (!Array.isArray(value)) throw bad(number, `column '${column.name}' must be a list`);
    if (value.length === 0) {
      definitions.push(present);
      repetitions.push(0);
    }
    for (let i = 0; i < value.length; i++) {
      this.#putValue(column, value[i], number);
      definitions.push(present + 1);
      repetitions.push(Math.min(i, 1));
    }
  }

  #putValue(column: OpenColumn, value: unknown, number: number): void {
    const encodable = column.convert(value);
    if (encodable === undefined) {
      throw bad(
        number,
        `column '${column.name}' must be ${column.list ? "a list of values, each " : ""}${column.wanted}`,
      );
    }
    column.values.push(encodable);
    this.#bytes += typeof encodable === "string" ? encodable.length + 4 : 8;
  }
}

function bad(number: number, problem: string): TableError {
  return new TableError("bad-value", `Cannot write row ${number}: ${problem}`);
}
