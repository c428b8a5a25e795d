/** One record of a CSV file. */
export interface CsvRecord {
  /** The line that it begins on, from 1. */
  readonly line: number;
  /** Its fields. */
  readonly fields: readonly string[];
}

/**
 * Reads CSV as RFC 4180 has it: fields between commas, quoted where they hold commas, quotes or line ends. Empty lines are passed over.
 *
 * @param chunks The text, in pieces.
 * @returns The records.
 * @throws {SyntaxError} With the line, if a quote stands where none may, or does not end, or a line ends by half.
 */
export async function* readCsv(chunks: AsyncIterable<string>): AsyncGenerator<CsvRecord> {
  const parser = new CsvParser();
  for await (const chunk of chunks) yield* parser.push(chunk);
  yield* parser.end();
}

class CsvParser {
  #fields: string[] = [];
  #field = "";
  #state: "start" | "plain" | "quoted" | "closed" = "start";
  /** A carriage return came, which only a line feed may follow. */
  #returned = false;
  #line = 1;
  #begun = 1;
  /** Where the field at hand was quoted. */
  #quoted = 1;

  *push(text: string): Generator<CsvRecord> {
    for (const char of text) {
      if (char === "\n") this.#line++;
      if (this.#returned && char !== "\n") this.#fail();
      this.#returned = false;
      if (this.#state === "quoted") {
        if (char === '"') this.#state = "closed";
        else this.#field += char;
      } else if (char === '"' && this.#state === "closed") {
        this.#state = "quoted";
        this.#field += char;
      } else if (char === '"' && this.#state === "start") {
        this.#state = "quoted";
        this.#quoted = this.#line;
      } else if (char === ",") this.#endField();
      else if (char === "\n") yield* this.#endRecord();
      else if (char === "\r") this.#returned = true;
      else if (char === '"' || this.#state === "closed") this.#fail();
      else {
        this.#state = "plain";
        this.#field += char;
      }
    }
  }

  *end(): Generator<CsvRecord> {
    if (this.#state === "quoted") throw new SyntaxError(`a quote does not end that begins in line ${this.#quoted}`);
    if (this.#returned) this.#fail();
    yield* this.#endRecord();
  }

  #endField(): void {
    this.#fields.push(this.#field);
    this.#field = "";
    this.#state = "start";
  }

  *#endRecord(): Generator<CsvRecord> {
    const isEmpty = this.#fields.length === 0 && this.#state === "start";
    this.#endField();
    if (!isEmpty) yield { line: this.#begun, fields: this.#fields };
    this.#fields = [];
    this.#begun = this.#line;
  }

  #fail(): never {
    throw new SyntaxError(`a quote or a line end is wrong in line ${this.#line}`);
  }
}
