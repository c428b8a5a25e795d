import { join } from "node:path";
import { type BenchRow, compare } from "./bench.ts";
import { COPY_BYTES, ROWS } from "./exports_work.ts";

/** Writing a table, joining an extract, copying its files; each run in a process of its own, whose memory is measured too. */
export async function benchExports(): Promise<BenchRow[]> {
  const dir = await Deno.makeTempDir({ prefix: "pixl-bench-" });
  try {
    return [...await benchWriting(dir), ...await benchStudies(dir), ...await benchCopying(dir)];
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function benchWriting(dir: string): Promise<BenchRow[]> {
  const memory = new Memory();
  const rate = (work: string) => async () => ROWS / await memory.run(work, dir);
  const common = { area: "exports", unit: "rows/s", rounds: 3, ours: rate("write-ours") };
  const name = "write 1,000,000 rows of 10 columns";
  const both = await compare({
    ...common,
    name,
    goal: 2.5,
    peers: { parquetjs: rate("write-parquetjs"), duckdb: rate("write-duckdb") },
  });
  return [
    against(both, "parquetjs", 2.5),
    against(both, "duckdb", 0.9),
    memory.row(name, "write-ours", 400),
  ];
}

async function benchStudies(dir: string): Promise<BenchRow[]> {
  const extract = join(dir, "extract");
  await Deno.mkdir(extract);
  const memory = new Memory();
  await memory.run("make-extract", extract);
  const rate = (work: string) => async () => ROWS / await memory.run(work, extract);
  const name = "studies of 1,000,000 procedures";
  const row = await compare({
    ...{ area: "exports", name, unit: "studies/s", goal: 0.2, rounds: 3 },
    ours: rate("studies-ours"),
    peers: { duckdb: rate("studies-duckdb") },
  });
  return [row, memory.row(name, "studies-ours", 700)];
}

async function benchCopying(dir: string): Promise<BenchRow[]> {
  const files = join(dir, "files");
  await Deno.mkdir(files);
  const memory = new Memory();
  await memory.run("make-files", files);
  const rate = (work: string, made: string) => async () => {
    const seconds = await memory.run(work, files);
    await Deno.remove(join(dir, made), { recursive: true });
    return COPY_BYTES / seconds;
  };
  return [
    await compare({
      ...{ area: "exports", name: "copy 1 GiB with hashes, to the disk", unit: "bytes/s", goal: 0.8, rounds: 5 },
      ours: rate("copy-ours", "bench"),
      peers: { "cp -r and sync": rate("copy-cp", "files/copy") },
    }),
  ];
}

/** The same measurement against one of the peers. */
function against({ name, ours, peers, ...row }: BenchRow, peer: string, goal: number): BenchRow {
  const rate = peers[peer] ?? 0;
  const ratio = ours / rate;
  return { ...row, name: `${name}, against ${peer}`, ours, peers: { [peer]: rate }, ratio, goal, met: ratio >= goal };
}

/** Runs works and keeps the most memory that each took. */
class Memory {
  readonly #peaks = new Map<string, number>();

  /** @returns Seconds, without the start of the process. */
  async run(work: string, dir: string): Promise<number> {
    const script = join(import.meta.dirname ?? ".", "exports_work.ts");
    const args = ["run", "-q", "-A", "--no-check", script, work, dir];
    const { success, stdout } = await new Deno.Command(Deno.execPath(), { args, stderr: "inherit" }).output();
    if (!success) throw new Error(`'${work}' failed`);
    const { seconds, peakMb }: { seconds: number; peakMb: number } = JSON.parse(new TextDecoder().decode(stdout));
    this.#peaks.set(work, Math.max(peakMb, this.#peaks.get(work) ?? 0));
    return seconds;
  }

  row(name: string, work: string, limitMb: number): BenchRow {
    const peak = this.#peaks.get(work) ?? 0;
    const ratio = limitMb / peak;
    const [area, unit] = ["exports", "times into its limit"];
    return {
      area,
      unit,
      name: `${name}: ${Math.round(peak)} MB of memory`,
      ours: ratio,
      peers: { limit: 1 },
      ratio,
      goal: 1,
      met: ratio >= 1,
    };
  }
}
