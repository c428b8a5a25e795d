import { uploadImages } from "../../pipeline/upload_images.ts";
import { uploadParquet } from "../../pipeline/upload_parquet.ts";
import type { UploadResult } from "../../pipeline/upload_result.ts";
import { configAccess, databaseAccess, ftpsAccess, joinAccess } from "../access.ts";
import { addressesOf } from "../addresses.ts";
import type { PixlCommand } from "../command.ts";
import { ConfigError, PartialError } from "../errors.ts";
import { openDestination, openLedger } from "../open.ts";

type Options = { readonly project?: string; readonly replace?: boolean };

/** `pixl upload images|parquet`: sends study zips or exports to the Data Safe Haven. */
export const uploadCommand: PixlCommand<readonly [what: "images" | "parquet"], Options> = {
  define: (program) =>
    program.command("upload")
      .description(
        "send study zips (from PIXL_IMAGE_DIR) or the latest exports (from PIXL_EXPORT_DIR) to the Data Safe Haven",
      )
      .addArgument(program.createArgument("<what>", "what to send").choices(["images", "parquet"]))
      .option("--project <slug>", "only this project")
      .option("--replace", "parquet: replace files at the destination that differ"),
  needs: () => ({ database: true, ftps: true }),
  access: async (config, [what]) =>
    joinAccess(configAccess(config), databaseAccess(config), ftpsAccess(config, await addressesOf(config.ftps.host)), {
      read: [what === "images" ? config.imageDir : config.exportDir],
    }),
  async run({ config, screen, signal, json, print }, [what], { project, replace = false }) {
    await using open = await openLedger(config, signal);
    if (project !== undefined && await open.ledger.findExtract(project, undefined, { signal }) === undefined) {
      throw new ConfigError([`The ledger knows no project '${project}': 'pixl status' lists those it knows`]);
    }
    await using destination = await openDestination(config, signal);
    using phase = screen.phase(`upload ${what}`, 0, "files");
    const options = {
      signal,
      ...(project === undefined ? {} : { projectSlug: project }),
      onFile: () => phase.advance(),
    };
    const result = what === "images"
      ? await uploadImages(open.ledger, config.imageDir, destination, options)
      : await uploadParquet(open.ledger, config.exportDir, destination, { ...options, replace });
    phase.done(`${result.sent} sent (${result.bytes} bytes), ${result.verified} verified at ${destination.name}`);
    if (json) print({ what, destination: destination.name, ...result });
    for (const { path, reason } of result.failed) screen.line(`  ${path}: ${reason}`);
    check(result);
  },
};

function check({ failed }: UploadResult): void {
  const [first] = failed;
  if (first !== undefined) {
    throw new PartialError(`${failed.length} files could not be sent, the first because: ${first.reason}`);
  }
}
