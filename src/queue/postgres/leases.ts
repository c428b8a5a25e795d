import { deadline } from "@std/async";
import { deliveryLost } from "./errors.ts";
import type { MessageTable } from "./message_table.ts";
import { type LeaseKey, leaseKey } from "./rows.ts";

/** A message that is looked after. */
export interface Held extends LeaseKey {
  readonly lost: AbortController;
  /** On `performance.now()`'s clock: before this nobody else can have it. */
  safeUntil: number;
}

/** The messages that one broker has in hand: keeps their leases alive, and says when one is lost. */
export class Leases {
  readonly #table: MessageTable;
  readonly #leaseMs: number;
  readonly #held = new Map<string, Held>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #renewing = false;
  #closed = false;

  constructor(table: MessageTable, leaseMs: number) {
    this.#table = table;
    this.#leaseMs = leaseMs;
  }

  /** Looks after a message from now on. @param since When the claim was sent. @returns Aborts when the lease is lost. */
  keep(key: LeaseKey, since: number): AbortSignal {
    const lost = new AbortController();
    const { message_id, lease } = key;
    this.#hold({ message_id, lease, lost, safeUntil: since + this.#leaseMs });
    return lost.signal;
  }

  /** Stops looking after it, for whoever answers it. @returns What was held, if it still was. */
  drop(key: LeaseKey): Held | undefined {
    const held = this.#held.get(leaseKey(key));
    this.#held.delete(leaseKey(key));
    if (this.#held.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
    return held;
  }

  /** Looks after a message again that was not answered after all, unless somebody has taken it meanwhile. Never rejects. */
  async resume(held: Held): Promise<void> {
    this.#hold(held);
    if (this.#closed) return void await this.#table.release([held]).catch(() => {});
    const start = performance.now();
    const renewed = await this.#renew([held]).catch(() => undefined);
    if (renewed === undefined) return;
    if (renewed.has(leaseKey(held))) held.safeUntil = start + this.#leaseMs;
    else this.#lose(held);
  }

  /** Stops looking after all; they count as lost. @returns What was held. */
  dropAll(): LeaseKey[] {
    this.#closed = true;
    const all = [...this.#held.values()];
    for (const held of all) this.#lose(held);
    return all;
  }

  #hold(held: Held): void {
    if (this.#closed) return held.lost.abort(deliveryLost());
    this.#held.set(leaseKey(held), held);
    this.#timer ??= setInterval(() => void this.#tick(), this.#tickMs);
  }

  #renew(asked: readonly LeaseKey[]): Promise<ReadonlySet<string>> {
    return deadline(this.#table.renew(asked, this.#leaseMs), this.#tickMs);
  }

  get #tickMs(): number {
    return this.#leaseMs / 3;
  }

  /** Never rejects. */
  async #tick(): Promise<void> {
    const asked = [...this.#held.values()];
    if (this.#renewing || asked.length === 0) return;
    this.#renewing = true;
    const start = performance.now();
    try {
      const renewed = await this.#renew(asked);
      for (const held of asked) {
        if (renewed.has(leaseKey(held))) held.safeUntil = start + this.#leaseMs;
        else this.#lose(held);
      }
    } catch {
      // The database may be back by the next time, unless that is too late.
      for (const held of asked) if (held.safeUntil <= performance.now() + this.#tickMs) this.#lose(held);
    } finally {
      this.#renewing = false;
    }
  }

  #lose(held: Held): void {
    // Not there any more: it was answered while the renewal was on its way.
    if (this.drop(held) !== undefined) held.lost.abort(deliveryLost());
  }
}
