import { deadline } from "@std/async";
import type postgres from "postgres";
import type { Delivery, Effect, Priority } from "../broker.ts";
import { deliveryLost, isAnswer, queueError } from "./errors.ts";
import type { Held, Leases } from "./leases.ts";
import { CALL_MS } from "./limits.ts";
import type { MessageTable } from "./message_table.ts";
import { keptMessage, type LeasedRow } from "./rows.ts";
import { transact } from "./transaction.ts";

/** The longest delay, a week in milliseconds: who asks for more means never, and a message is not to be forgotten. */
const LONGEST_DELAY_MS = 7 * 24 * 3_600_000;

/** What a delivery needs of its broker. */
export interface DeliveryContext {
  readonly sql: postgres.Sql;
  readonly table: MessageTable;
  readonly leases: Leases;
  /** Tells who waits that the message is back. */
  readonly wake: () => void;
}

/** A row of the message table in hand. */
export class PostgresDelivery implements Delivery {
  readonly messageId: string;
  readonly body: Uint8Array;
  readonly attempt: number;
  declare readonly priority?: Priority;
  declare readonly traceparent?: string;
  declare readonly publishedAt?: string;
  readonly lost: AbortSignal;
  readonly #row: LeasedRow;
  readonly #context: DeliveryContext;

  /** @param since When the claim was sent, on `performance.now()`'s clock. */
  constructor(row: LeasedRow, since: number, context: DeliveryContext) {
    const { messageId, body, attempt, priority, traceparent, publishedAt } = keptMessage(row);
    this.messageId = messageId;
    this.body = body;
    this.attempt = attempt;
    if (priority !== undefined) this.priority = priority;
    if (traceparent !== undefined) this.traceparent = traceparent;
    if (publishedAt !== undefined) this.publishedAt = publishedAt;
    this.#row = row;
    this.#context = context;
    this.lost = context.leases.keep(row, since);
  }

  async acknowledge(effect?: Effect): Promise<void> {
    if (effect !== undefined) return await this.#acknowledgeWith(effect);
    await this.#answer(() => this.#context.table.delete(this.#row));
  }

  async release(): Promise<void> {
    const release = () => this.#context.table.release([this.#row]);
    // An operator who ends connections has each of them refuse once. Whoever lets go of it does not answer again: were its lease kept after that, it would
    // stay in hand for ever.
    const twice = () => release().catch((error) => isAnswer(error) ? release() : Promise.reject(error));
    await this.#answer(twice, { keep: false });
    this.#context.wake();
  }

  /** As the interface says; the longest delay is a week. */
  async requeue(delayMs: number): Promise<void> {
    await this.#postpone(delayMs, 0);
  }

  /** As the interface says; the longest delay is a week. */
  async retry(delayMs: number): Promise<void> {
    await this.#postpone(delayMs, 1);
  }

  async deadLetter(reason: string, errorClass?: string): Promise<void> {
    await this.#answer(() => this.#context.table.bury(this.#row, reason, errorClass));
  }

  async #postpone(delayMs: number, attempts: number): Promise<void> {
    if (!(delayMs >= 0 && delayMs < Infinity)) {
      throw new RangeError(
        `Cannot put the message back as 'delayMs' must be a finite number of at least 0: current value is ${delayMs}`,
      );
    }
    await this.#answer(() => this.#context.table.postpone(this.#row, Math.min(delayMs, LONGEST_DELAY_MS), attempts));
    if (delayMs === 0) this.#context.wake();
  }

  /** @param options Whether it stays in hand where the server refuses the answer. */
  async #answer(statement: () => Promise<number>, { keep = true } = {}): Promise<void> {
    const held = this.#take();
    let rows: number;
    try {
      rows = await deadline(statement(), CALL_MS);
    } catch (error) {
      if (keep && isAnswer(error)) {
        await this.#context.leases.resume(held);
        throw queueError("answer the delivery", error);
      }
      // Whether the statement arrived is not always known. If not, the message comes again when its lease has run out.
      throw deliveryLost(error);
    }
    if (rows === 0) throw deliveryLost();
  }

  /**
   * The row is deleted first: that shows that it is ours, and its lock keeps it so, even when the lease runs out, until the transaction ends. So the lease
   * is not renewed meanwhile.
   */
  async #acknowledgeWith(effect: Effect): Promise<void> {
    const { sql, table, leases } = this.#context;
    const held = this.#take();
    let ours = true;
    let effected = false;
    let problem: { readonly error: unknown } | undefined;
    try {
      await transact(sql, async (transaction) => {
        ours = await table.delete(this.#row, transaction) === 1;
        if (!ours) throw deliveryLost();
        try {
          await effect(transaction);
          effected = true;
        } catch (error) {
          problem = { error };
          throw error;
        }
      });
    } catch (error) {
      // Of a commit that was cut off nobody knows.
      if (!ours || effected) throw deliveryLost(error);
      await leases.resume(held);
      throw problem?.error === error ? error : queueError("acknowledge the message", error);
    }
  }

  #take(): Held {
    const held = this.#context.leases.drop(this.#row);
    if (held === undefined) throw deliveryLost();
    return held;
  }
}
