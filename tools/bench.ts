/** Measures parts of the package side by side with others: `deno task bench [--json] [--only AREA]`. */
import { parseArgs } from "node:util";
import type { BenchRow } from "../tests/bench/bench.ts";
import { benchDatabase } from "../tests/bench/database.ts";
import { benchExports } from "../tests/bench/exports.ts";
import { benchQueue } from "../tests/bench/queue.ts";
import { benchRateLimiter } from "../tests/bench/rate_limiter.ts";
import { benchUpload } from "../tests/bench/upload.ts";
import { print, say } from "./say.ts";

const AREAS: Readonly<Record<string, () => Promise<BenchRow[]>>> = {
  "rate-limiter": benchRateLimiter,
  queue: benchQueue,
  database: benchDatabase,
  exports: benchExports,
  upload: benchUpload,
};

const { values } = parseArgs({ args: Deno.args, options: { json: { type: "boolean" }, only: { type: "string" } } });
if (values.only !== undefined && !(values.only in AREAS)) {
  say(`'${values.only}' is no area: use one of ${Object.keys(AREAS).join(", ")}`);
  Deno.exit(2);
}
const rows: BenchRow[] = [];
for (const [area, run] of Object.entries(AREAS)) {
  if (values.only !== undefined && values.only !== area) continue;
  for (const row of await run()) {
    rows.push(row);
    const peers = Object.entries(row.peers).map(([name, rate]) => `${name} ${short(rate)}`).join(", ");
    const verdict = row.met ? "met" : "NOT MET";
    say(
      `${row.area} · ${row.name}: ${short(row.ours)} ${row.unit}; ${peers}; ratio ${
        row.ratio.toFixed(2)
      }, goal ${row.goal}: ${verdict}`,
    );
  }
}
if (values.json) print(JSON.stringify({ rows }));

function short(rate: number): string {
  return Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" }).format(rate);
}
