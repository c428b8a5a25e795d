import type { Lease, Ledger, StudyKind } from "../database/mod.ts";

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
 * @param lease As it was claimed; it is renewed three times as often as it needs.
 */
export function keepLease(ledger: Ledger, kind: StudyKind, id: number, lease: Lease): KeptLease {
  const lost = new AbortController();
  let renewal = Promise.resolve();
  const renew = async () => {
    try {
      await ledger.renew(kind, id, lease, { signal: AbortSignal.timeout(lease.leaseMs) });
    } catch (error) {
      lost.abort(error);
    }
  };
  const timer = setInterval(() => renewal = renewal.then(renew), lease.leaseMs / 3);
  return {
    lost: lost.signal,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await renewal;
    },
  };
}
