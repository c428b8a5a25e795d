/** One line of `deno task bench`. Rates, so that more is better. */
export interface BenchRow {
  readonly area: string;
  readonly name: string;
  /** Such as `rows/s`. */
  readonly unit: string;
  readonly ours: number;
  readonly peers: Readonly<Record<string, number>>;
  /** Ours to the best peer. */
  readonly ratio: number;
  /** The least ratio that is aimed for. */
  readonly goal: number;
  readonly met: boolean;
}

/** What is measured side by side. */
export interface Comparison {
  readonly area: string;
  readonly name: string;
  readonly unit: string;
  readonly goal: number;
  /** Each does the work once and gives its rate. */
  readonly ours: () => number | Promise<number>;
  readonly peers: Readonly<Record<string, () => number | Promise<number>>>;
  /** Times that all are run in turn; the first turn is not counted. @default {5} */
  readonly rounds?: number;
}

/**
 * Runs ours and the peers in turn, again and again, so that a machine whose speed drifts treats all alike; takes medians.
 */
export async function compare(comparison: Comparison): Promise<BenchRow> {
  const { area, name, unit, goal, ours, peers, rounds = 5 } = comparison;
  const runs = new Map([["ours", ours], ...Object.entries(peers)]);
  const rates = new Map([...runs.keys()].map((who) => [who, [] as number[]]));
  for (let round = 0; round <= rounds; round++) {
    for (const [who, run] of runs) {
      const rate = await run();
      if (round > 0) rates.get(who)?.push(rate);
    }
  }
  const medians = new Map([...rates].map(([who, values]) => [who, median(values)]));
  const mine = medians.get("ours") ?? 0;
  medians.delete("ours");
  return rowOf({ area, name, unit, goal, ours: mine, peers: Object.fromEntries(medians) });
}

/** A line of figures that were measured already. */
export function rowOf(figures: Omit<BenchRow, "ratio" | "met">): BenchRow {
  const ratio = figures.ours / Math.max(...Object.values(figures.peers));
  return { ...figures, ratio, met: ratio >= figures.goal };
}

/** Does something and gives how many of `n` it did a second. */
export async function perSecond(n: number, work: () => unknown): Promise<number> {
  const started = performance.now();
  await work();
  return (n * 1_000) / (performance.now() - started);
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low = 0, high = low] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  return (low + high) / 2;
}
