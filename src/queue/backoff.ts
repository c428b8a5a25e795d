/**
 * The pause before the next attempt: 1, 2, 4, … seconds up to five minutes, each shortened by up to a half at random so that studies that failed
 * together do not come back together.
 *
 * @param attempt The attempt that failed, from 1.
 * @returns Milliseconds.
 */
export function backoffMs(attempt: number): number {
  const full = Math.min(1_000 * 2 ** (attempt - 1), 300_000);
  return Math.round(full * (0.5 + Math.random() / 2));
}
