import { join } from "node:path";
import { type Database, Ledger, migrate, SharedRate, type StudyKind } from "../database/mod.ts";
import { OmopExtract } from "../exports/mod.ts";
import { consumeQueues, type QueueService } from "../pipeline/consume_queues.ts";
import { exportExtract } from "../pipeline/export_extract.ts";
import { populate } from "../pipeline/populate.ts";
import { httpStudyService } from "../pipeline/study_service.ts";
import { uploadImages } from "../pipeline/upload_images.ts";
import { uploadParquet } from "../pipeline/upload_parquet.ts";
import type { Progress } from "../progress.ts";
import { PostgresBroker } from "../queue/mod.ts";
import { FtpsDestination } from "../upload/mod.ts";
import { hashFile, listFiles } from "./files.ts";
import { FtpsReceiver } from "./ftps_receiver/mod.ts";
import { makePki } from "./pki.ts";
import { simulateHospital } from "./simulated_hospital.ts";
import { writeSyntheticExtract } from "./synthetic_extract.ts";

/** What {@linkcode demo} is asked for. */
export interface DemoOptions {
  /** Holds everything: extract, database, images, exports and what arrived. */
  readonly dir: string;
  /** Studies of the synthetic extract. */
  readonly studies: number;
  /** Studies a second of each queue. */
  readonly rate: number;
  /** An extract to be used instead of a synthetic one. */
  readonly omopDir?: string;
  /** Opens the embedded database in a folder. */
  readonly openDatabase: (dir: string) => Promise<Database>;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** What {@linkcode demo} did; `--json` prints it. */
export interface DemoReport {
  readonly studies: number;
  readonly published: Readonly<Record<"pacs" | "ehr", number>>;
  readonly handled: Readonly<Record<"pacs" | "ehr", number>>;
  readonly dead: Readonly<Record<"pacs" | "ehr", number>>;
  readonly retries: number;
  readonly exported: { readonly parquetFiles: number; readonly reportRows: number };
  readonly uploaded: {
    readonly images: number;
    /** The parquet files and their manifest. */
    readonly exportFiles: number;
    readonly bytes: number;
    /** Files at the destination that equal their source byte for byte. */
    readonly verified: number;
  };
  readonly ledger: { readonly exported: number };
  readonly seconds: number;
}

/** What {@linkcode demo} found. */
export interface DemoResult {
  readonly report: DemoReport;
  /** Counts that do not agree; empty if all is well. */
  readonly problems: readonly string[];
  /** Paths of what arrived. */
  readonly arrived: readonly string[];
}

const QUEUES = ["pacs", "ehr"] as const;
/** Most studies at once; the demo is no archive to be spared. */
const CAPACITY = 5;
const KINDS: ReadonlyMap<string, StudyKind> = new Map([["pacs", "image"], ["ehr", "report"]]);

/**
 * Runs the main job on embedded defaults: extract, queues, a simulated hospital, export, and upload to a strict FTPS receiver.
 *
 * @param options Folder, size and pace.
 * @returns Counts and what does not agree.
 */
export async function demo(options: DemoOptions): Promise<DemoResult> {
  const { dir, signal, progress } = options;
  const started = performance.now();
  const imageDir = join(dir, "images");
  const exportDir = join(dir, "exports");
  const dshDir = join(dir, "dsh");
  for (const folder of [imageDir, exportDir, dshDir]) await Deno.mkdir(folder, { recursive: true, mode: 0o700 });

  const extract = await prepareExtract(options);
  await using database = await prepareDatabase(options);
  const ledger = new Ledger(database);
  await using broker = new PostgresBroker(database.sql);

  using populating = progress.phase("populate", 0, "messages");
  const populated = await populate(extract, ledger, broker, KINDS, {
    signal,
    onPublished: (_, n) => populating.advance(n),
  });
  const published = { pacs: populated.published.pacs ?? 0, ehr: populated.published.ehr ?? 0 };
  populating.done(`${populated.studies} studies, ${published.pacs + published.ehr} messages`);

  const waiting = { pacs: await waitingIn("pacs"), ehr: await waitingIn("ehr") };
  const counts = await consumeAll();
  const handled = { pacs: counts.pacs?.done ?? 0, ehr: counts.ehr?.done ?? 0 };
  const dead = { pacs: counts.pacs?.dead ?? 0, ehr: counts.ehr?.dead ?? 0 };
  const retries = QUEUES.reduce(
    (sum, queue) => sum + (counts[queue]?.retried ?? 0) + (counts[queue]?.requeued ?? 0),
    0,
  );

  using exporting = progress.phase("export", 0, "files");
  const exported = await exportExtract(extract, ledger, exportDir, { signal, onFile: () => exporting.advance() });
  exporting.done(`${exported.parquetFiles} parquet files, ${exported.reportRows} reports`);

  const uploaded = await uploadAll();

  using verifying = progress.phase("verify", 0, "files");
  // The folder may hold what earlier runs sent of other projects.
  const arrived = (await listFiles(dshDir)).filter((path) => path.startsWith(`${extract.projectSlug}/`));
  verifying.total(arrived.length);
  let verified = 0;
  for (const path of arrived) {
    const hash = await hashFile(join(dshDir, path));
    if (hash !== undefined && hash === await hashFile(sourceOf(path))) verified += 1;
    verifying.advance();
  }
  verifying.done(`${verified} of ${arrived.length} files equal their source byte for byte`);

  const summary = await ledger.summary(extract.projectSlug, { signal });
  const inState = (kind: string, state: string) =>
    summary.filter((row) => row.kind === kind && row.state === state).reduce((sum, row) => sum + row.count, 0);
  const report: DemoReport = {
    studies: populated.studies,
    published,
    handled,
    dead,
    retries,
    exported: { parquetFiles: exported.parquetFiles, reportRows: exported.reportRows },
    uploaded: { ...uploaded, verified },
    ledger: { exported: inState("image", "exported") },
    seconds: Math.round(performance.now() - started) / 1_000,
  };
  const zips = arrived.filter((path) => path.endsWith(".zip")).length;
  const problems = disagreements([
    ["studies handled for images", handled.pacs, waiting.pacs],
    ["studies handled for reports", handled.ehr, waiting.ehr],
    ["studies in dead letters", dead.pacs + dead.ehr, 0],
    ["reports exported", exported.reportRows, populated.studies],
    ["studies exported by the ledger", report.ledger.exported, populated.studies],
    ["study zips that arrived", zips, populated.studies],
    ["files verified", verified, arrived.length],
    ["files at the destination", arrived.length, zips + exported.parquetFiles + 1], // the manifest
  ]);
  return { report, problems, arrived };

  /** Messages that an interrupted run left are handled too. */
  async function waitingIn(queue: string): Promise<number> {
    const { ready, delayed, inHand = 0 } = await broker.depth(queue, { signal });
    return ready + delayed + inHand;
  }

  async function consumeAll(): ReturnType<typeof consumeQueues> {
    await using hospital = simulateHospital({ imageDir });
    const services = new Map<string, QueueService>([
      ["pacs", { kind: "image", service: httpStudyService(hospital.urls.pacs) }],
      ["ehr", { kind: "report", service: httpStudyService(hospital.urls.ehr) }],
    ]);
    const rateOf = (queue: string) => new SharedRate(database, queue, { rate: options.rate, capacity: CAPACITY });
    for (const queue of QUEUES) await rateOf(queue).set({ rate: options.rate }, { signal });
    using consuming = progress.phase("consume", waiting.pacs + waiting.ehr, "studies");
    const result = await consumeQueues(ledger, broker, services, {
      rateOf,
      owner: crypto.randomUUID(),
      untilEmpty: true,
      signal,
      onOutcome: (_, outcome) => {
        if (outcome === "done") consuming.advance();
      },
    });
    signal.throwIfAborted();
    const put = Object.values(result).reduce((sum, { retried, requeued }) => sum + retried + requeued, 0);
    consuming.done(
      `${Object.entries(result).map(([queue, { done }]) => `${done} ${queue}`).join(", ")}, ${put} tried again`,
    );
    return result;
  }

  async function uploadAll(): Promise<{ images: number; exportFiles: number; bytes: number }> {
    const pki = await makePki({ hosts: ["127.0.0.1"], days: 1 });
    const [user, password] = ["dsh", crypto.randomUUID()];
    const { certPem, keyPem, caPem } = pki;
    await using receiver = await FtpsReceiver.listen({
      root: dshDir,
      user,
      password,
      certPem,
      keyPem,
      mode: "implicit",
    });
    await using dsh = await FtpsDestination.open({
      host: "127.0.0.1",
      port: receiver.port,
      user,
      password,
      mode: "implicit",
      caPem,
    }, { signal });
    using uploading = progress.phase("upload", populated.studies + exported.parquetFiles + 1, "files");
    const onFile = () => uploading.advance();
    const images = await uploadImages(ledger, imageDir, dsh, { signal, onFile });
    const parquet = await uploadParquet(ledger, exportDir, dsh, { signal, onFile });
    uploading.done(`${images.sent} zips and ${parquet.sent} files of the export over FTPS, certificate verified`);
    return { images: images.sent, exportFiles: parquet.sent, bytes: images.bytes + parquet.bytes };
  }

  /** `<project>/<pseudonym>.zip` and `<project>/<time>/parquet/<file>`. */
  function sourceOf(path: string): string {
    const [project = "", time = "", kind, ...rest] = path.split("/");
    return kind === "parquet" ? join(exportDir, project, "all_extracts", time, ...rest) : join(imageDir, time);
  }
}

async function prepareExtract({ dir, omopDir, studies, progress, signal }: DemoOptions): Promise<OmopExtract> {
  using phase = progress.phase("extract", 1, "extracts");
  const folder = omopDir ?? join(dir, "extract");
  const there = await Deno.stat(join(folder, "extract_summary.json")).then(() => true, () => false);
  if (omopDir === undefined && !there) await writeSyntheticExtract(folder, { studies });
  const extract = await OmopExtract.open(folder, { signal });
  phase.done(`${there ? "read" : "written"}: ${extract.projectName}`);
  return extract;
}

async function prepareDatabase({ dir, openDatabase, progress, signal }: DemoOptions): Promise<Database> {
  using phase = progress.phase("database", 1, "databases");
  const database = await openDatabase(join(dir, "database"));
  try {
    const { current } = await migrate(database, { signal });
    phase.done(`embedded, at ${current}`);
    return database;
  } catch (error) {
    await database[Symbol.asyncDispose]();
    throw error;
  }
}

function disagreements(rows: readonly (readonly [what: string, found: number, expected: number])[]): string[] {
  return rows.filter(([, found, expected]) => found !== expected)
    .map(([what, found, expected]) => `${what}: ${found} instead of ${expected}`);
}
