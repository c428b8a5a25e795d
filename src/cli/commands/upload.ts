import type { Ledger } from "../../database/mod.ts";
import { ProjectUnknownError } from "../../pipeline/errors.ts";
import { explainPlan } from "../../pipeline/explain_plan.ts";
import type { Unsendable, UploadPlan } from "../../pipeline/file_to_send.ts";
import { sendFiles, type UploadTaskOptions } from "../../pipeline/send_files.ts";
import { planImages, planZips, uploadImages } from "../../pipeline/upload_images.ts";
import type { UploadProgress } from "../../pipeline/upload_meter.ts";
import { planParquet, uploadParquet } from "../../pipeline/upload_parquet.ts";
import type { UploadResult } from "../../pipeline/upload_result.ts";
import { watchImages } from "../../pipeline/watch_images.ts";
import { findZips } from "../../pipeline/zips.ts";
import type { Destination } from "../../upload/mod.ts";
import { configAccess, databaseAccess, destinationAccess, joinAccess } from "../access.ts";
import { parseNumber } from "../arguments.ts";
import type { Context, PixlCommand } from "../command.ts";
import { ConfigError, PartialError } from "../errors.ts";
import { asService } from "../interruption.ts";
import { openLedger, openUpload } from "../open.ts";
import type { Screen } from "../screen.ts";
import { bytesText, counted, durationText } from "../units.ts";

type Options = {
  readonly project?: string;
  readonly replace?: boolean;
  readonly watch?: boolean;
  readonly dryRun?: boolean;
  readonly connections: number;
  readonly maxBytesPerSecond?: number;
  readonly interval: number;
};
type Args = readonly [what: "images" | "parquet", dirs: readonly string[]];

/** `pixl upload images|parquet`: sends study zips or exports to the Data Safe Haven. */
export const uploadCommand: PixlCommand<Args, Options> = {
  define: (program) =>
    program.command("upload")
      .description(
        "send study zips (from PIXL_IMAGE_DIR) or the latest exports (from PIXL_EXPORT_DIR) to the Data Safe Haven",
      )
      .addArgument(program.createArgument("<what>", "what to send").choices(["images", "parquet"]))
      .argument("[dirs...]", "images: folders of zips named by pseudonym, instead of PIXL_IMAGE_DIR")
      .option("--project <slug>", "only this project")
      .option("--replace", "parquet: replace files at the destination that differ")
      .option("--watch", "images: go on until it is stopped, sending zips as they are finished")
      .option(
        "--interval <seconds>",
        "watch: pause between looks; a file that changes within it is not finished",
        parseNumber("interval", { min: 0.1, max: 86_400 }),
        5,
      )
      .option("--dry-run", "say what would be sent and why, and send nothing")
      .option(
        "--connections <n>",
        "files sent at once, each over a connection of its own",
        parseNumber("connections", { min: 1, max: 64, whole: true }),
        4,
      )
      .option(
        "--max-bytes-per-second <n>",
        "of all connections together",
        parseNumber("max-bytes-per-second", { min: 1_000, max: 1e12, whole: true }),
      ),
  needs: () => ({ database: true, destination: true }),
  access: async (config, [what, dirs], { connections }) =>
    joinAccess(configAccess(config), databaseAccess(config), await destinationAccess(config, connections), {
      read: what === "images" ? foldersOf(dirs, config.imageDir) : [config.exportDir],
    }),
  run: (context, [what, dirs], options) => {
    const work = () => run(context, what, dirs, options);
    return options.watch ? asService(context.signal, work) : work();
  },
};

async function run(context: Context, what: Args[0], dirs: Args[1], options: Options): Promise<void> {
  const { config, screen, signal, json, print } = context;
  checkOptions(what, dirs, options);
  await using open = await openLedger(config, signal);
  const { project } = options;
  if (project !== undefined && await open.ledger.findExtract(project, undefined, { signal }) === undefined) {
    throw new ProjectUnknownError(project);
  }
  await using destination = await openUpload(config, options, open.ledger, signal);
  if (options.dryRun) return await explain(context, open.ledger, destination, what, dirs, options);
  using phase = screen.phase(`upload ${what}`, 0, "files");
  const task = {
    signal,
    ...(project === undefined ? {} : { projectSlug: project }),
    concurrency: options.connections,
    onFile: () => phase.advance(),
    onProgress: ({ files, bytes, bytesPerSecond, secondsLeft }: UploadProgress) => {
      if (!options.watch) phase.total(files[1]);
      const left = secondsLeft === undefined ? "" : `, ${durationText(secondsLeft)} left`;
      phase.note(`${bytesText(bytes[0])} of ${bytesText(bytes[1])}, ${bytesText(bytesPerSecond)}/s${left}`);
    },
  };
  const result = await upload(context, open.ledger, destination, what, dirs, options, task);
  phase.done(
    `${result.sent} sent (${result.bytes} bytes), ${result.verified} verified at ${destination.name}`,
    result.failed.length === 0,
  );
  if (json) print({ what, destination: destination.name, ...result });
  check(result);
}

async function upload(
  { config, screen }: Context,
  ledger: Ledger,
  destination: Destination,
  what: Args[0],
  dirs: Args[1],
  options: Options,
  common: UploadTaskOptions & { readonly signal: AbortSignal },
): Promise<UploadResult> {
  const tell = ({ path, reason }: Unsendable) => screen.line(`  ${path}: ${reason}`);
  const task = { ...common, onFailure: tell };
  if (what === "parquet") {
    return await uploadParquet(ledger, config.exportDir, destination, { ...task, replace: options.replace === true });
  }
  if (options.watch) {
    return await watchImages(ledger, foldersOf(dirs, config.imageDir), destination, {
      ...common,
      intervalMs: options.interval * 1_000,
      onProblem: tell,
    });
  }
  if (dirs.length === 0) return await uploadImages(ledger, config.imageDir, destination, task);
  const plan = await planZips(ledger, await findZips(dirs), task);
  if (plan.left.length > 0) {
    screen.line(`  ${counted(plan.left.length, "zip is", "zips are")} left out: exported already`);
  }
  return await sendFiles(ledger, destination, plan, task);
}

async function explain(
  { config, screen, signal, json, print }: Context,
  ledger: Ledger,
  destination: Destination,
  what: Args[0],
  dirs: Args[1],
  { project, replace = false }: Options,
): Promise<void> {
  const selection = { signal, ...(project === undefined ? {} : { projectSlug: project }) };
  const plan = await planOf();
  const files = await explainPlan(destination, plan.files, { signal });
  const sending = files.filter(({ send }) => send);
  const bytes = sending.reduce((sum, file) => sum + file.bytes, 0);
  for (const { path, why, bytes } of files) screen.line(`  ${path} (${bytesText(bytes)}): ${why}`);
  showUnsent(plan, screen);
  screen.line(`${counted(sending.length, "file")} (${bytesText(bytes)}) would be sent to ${destination.name}`);
  if (json) {
    print({ what, destination: destination.name, dryRun: true, files, failed: plan.failed, left: plan.left ?? [] });
  }

  async function planOf(): Promise<UploadPlan> {
    if (what === "images") {
      return dirs.length === 0
        ? await planImages(ledger, config.imageDir, selection)
        : await planZips(ledger, await findZips(dirs), selection);
    }
    const { files, manifests, failed } = await planParquet(ledger, config.exportDir, { ...selection, replace });
    return { files: [...files, ...manifests], failed };
  }
}

function showUnsent({ failed, left = [] }: UploadPlan, screen: Screen): void {
  for (const { path, reason } of [...failed, ...left]) screen.line(`  ${path}: ${reason}`);
}

function foldersOf(dirs: readonly string[], imageDir: string): readonly string[] {
  return dirs.length === 0 ? [imageDir] : dirs;
}

function checkOptions(what: Args[0], dirs: Args[1], { replace, watch, dryRun }: Options): void {
  const problems: string[] = [];
  if (what === "parquet" && dirs.length > 0) problems.push("Folders are for images: exports stand in PIXL_EXPORT_DIR");
  if (what === "parquet" && watch) problems.push("--watch is for images: leave it out");
  if (what === "images" && replace) problems.push("--replace is for parquet: a study's zip is sent once");
  if (watch && dryRun) problems.push("--watch and --dry-run are both given: keep one");
  if (problems.length > 0) throw new ConfigError(problems);
}

function check({ failed }: UploadResult): void {
  const [first] = failed;
  if (first !== undefined) {
    throw new PartialError(`${counted(failed.length, "file")} could not be sent, the first because: ${first.reason}`);
  }
}
