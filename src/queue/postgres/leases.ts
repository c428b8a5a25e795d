import { deadline } from "@std/async";
import { deliveryLost } from "./errors.ts";
import { type LeaseKey, leaseKey, type MessageTable } from "./message_table.ts";

interface Held extends LeaseKey {
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

  constructor(table: MessageTable, leaseMs: number) {
    this.#table = table;
    this.#leaseMs = leaseMs;
  }

  /** Looks after a message from now on. @param since When the claim was sent. @returns Aborts when the lease is lost. */
  keep(key: LeaseKey, since: number): AbortSignal {
    const lost = new AbortController();
    const { message_id, lease } = key;
    this.#held.set(leaseKey(key), { message_id, lease, lost, safeUntil: since + this.#leaseMs });
    this.#timer ??= setInterval(() => void this.#tick(), this.#tickMs);
    return lost.signal;
  }

  /** Stops looking after it, for whoever answers it. @returns Whether it was still held. */
  drop(key: LeaseKey): boolean {
    const held = this.#held.delete(leaseKey(key));
    if (this.#held.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
    return held;
  }

  /** Stops looking after all; they count as lost. @returns What was held. */
  dropAll(): LeaseKey[] {
    const all = [...this.#held.values()];
    for (const held of all) this.#lose(held);
    return all;
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
      const renewed = await deadline(this.#table.renew(asked, this.#leaseMs), this.#tickMs);
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
    if (this.drop(held)) held.lost.abort(deliveryLost());
  }
}
