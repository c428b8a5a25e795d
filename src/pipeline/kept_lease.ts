import { type Lease, LeaseLostError, type Ledger, type StudyKind } from "../database/mod.ts";

/** A study that stays ours while we work on it. */
export interface KeptLease extends AsyncDisposable {
  /** Aborts when the ledger gave the study to another consumer. */
  readonly lost: AbortSignal;
}

/**
 * Renews the lease of a claimed study until the end of the scope.
 *
 * @param ledger Where it was claimed.
 * @param kind Image or report.
 * @param id The claimed row.
 * @param lease As it was claimed; it is renewed four times as often as it must be.
 */
export function keepLease(ledger: Ledger, kind: StudyKind, id: number, lease: Lease): KeptLease {
  const lost = new AbortController();
  let renewal = Promise.resolve();
  let oursUntil = performance.now() + lease.leaseMs;
  const renew = async () => {
    const asked = performance.now();
    try {
      await ledger.renew(kind, id, lease, { signal: AbortSignal.timeout(lease.leaseMs) });
      oursUntil = asked + lease.leaseMs;
    } catch (error) {
      // A database that is away for a moment takes nothing from us as long as the lease runs.
      if (error instanceof LeaseLostError || performance.now() >= oursUntil) lost.abort(error);
    }
  };
  const timer = setInterval(() => renewal = renewal.then(renew), lease.leaseMs / 4);
  return {
    lost: lost.signal,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await renewal;
    },
  };
}
