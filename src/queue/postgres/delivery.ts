import type { Delivery } from "../broker.ts";
import { deliveryLost } from "./errors.ts";
import type { Leases } from "./leases.ts";
import type { LeasedRow, MessageTable } from "./message_table.ts";

/** A row of the message table in hand. */
export class PostgresDelivery implements Delivery {
  readonly lost: AbortSignal;
  readonly #row: LeasedRow;
  readonly #table: MessageTable;
  readonly #leases: Leases;
  readonly #wake: () => void;

  /** @param since When the claim was sent, on `performance.now()`'s clock. @param wake Tells who waits that the message is back. */
  constructor(row: LeasedRow, table: MessageTable, leases: Leases, since: number, wake: () => void) {
    this.#row = row;
    this.#table = table;
    this.#leases = leases;
    this.#wake = wake;
    this.lost = leases.keep(row, since);
  }

  get messageId(): string {
    return this.#row.name;
  }

  get body(): Uint8Array {
    return this.#row.body;
  }

  get attempt(): number {
    return this.#row.attempt;
  }

  acknowledge(): Promise<void> {
    return this.#answer(() => this.#table.delete(this.#row));
  }

  async release(): Promise<void> {
    await this.#answer(() => this.#table.release([this.#row]));
    this.#wake();
  }

  async requeue(delayMs: number): Promise<void> {
    await this.#postpone(delayMs, 0);
  }

  async retry(delayMs: number): Promise<void> {
    await this.#postpone(delayMs, 1);
  }

  deadLetter(reason: string): Promise<void> {
    return this.#answer(() => this.#table.bury(this.#row, reason));
  }

  async #postpone(delayMs: number, attempts: number): Promise<void> {
    if (!(delayMs >= 0 && delayMs < Infinity)) {
      throw new RangeError(
        `Cannot put the message back as 'delayMs' must be a finite number of at least 0: current value is ${delayMs}`,
      );
    }
    await this.#answer(() => this.#table.postpone(this.#row, delayMs, attempts));
    if (delayMs === 0) this.#wake();
  }

  async #answer(statement: () => Promise<number>): Promise<void> {
    if (!this.#leases.drop(this.#row)) throw deliveryLost();
    let rows: number;
    try {
      rows = await statement();
    } catch (error) {
      // Whether the statement arrived is not known. If not, the message comes again when its lease has run out.
      throw deliveryLost(error);
    }
    if (rows === 0) throw deliveryLost();
  }
}
