import { LeaseLostError, type LedgerCall } from "../database/mod.ts";

/** A study or an upload that stays ours while we work on it. */
export interface KeptLease extends AsyncDisposable {
  /** Aborts when the ledger gave it to another. */
  readonly lost: AbortSignal;
}

/**
 * Renews a lease until the end of the scope.
 *
 * @param leaseMs As it was claimed; it is renewed four times as often as it must be.
 * @param renewOnce Asks the ledger to.
 */
export function keepLease(leaseMs: number, renewOnce: (call: LedgerCall) => Promise<void>): KeptLease {
  const lost = new AbortController();
  let renewal = Promise.resolve();
  let oursUntil = performance.now() + leaseMs;
  const renew = async () => {
    if (lost.signal.aborted) return;
    const asked = performance.now();
    try {
      // No longer than it is surely ours; but a process that was held up asks all the same, since the ledger may not have given it away.
      const patience = Math.max(oursUntil - asked, leaseMs / 4);
      await renewOnce({ signal: AbortSignal.timeout(Math.ceil(patience)) });
      oursUntil = asked + leaseMs;
    } catch (error) {
      // A database that is away for a moment takes nothing from us as long as the lease runs.
      if (error instanceof LeaseLostError || performance.now() >= oursUntil) lost.abort(error);
    }
  };
  const timer = setInterval(() => renewal = renewal.then(renew), leaseMs / 4);
  return {
    lost: lost.signal,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await renewal;
    },
  };
}
