import { Option } from "commander";
import { OmopExtract } from "../../exports/mod.ts";
import { exportExtract, type ExportPart } from "../../pipeline/export_extract.ts";
import { configAccess, databaseAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { PartialError } from "../errors.ts";
import { openLedger } from "../open.ts";
import { counted } from "../units.ts";

type Options = { readonly replace?: boolean; readonly dryRun?: boolean; readonly only?: ExportPart };

const MB = 1_000_000;

/** `pixl export DIR`: writes an extract's parquet files. */
export const exportCommand: PixlCommand<readonly [dir: string], Options> = {
  define: (program) =>
    program.command("export")
      .description("write an extract's OMOP tables and radiology reports as parquet files")
      .argument("<dir>", "the extract that was populated")
      .option("--replace", "replace an export of this extract that differs")
      .addOption(
        new Option("--only <part>", "export only the tables, or only the reports").choices(["omop", "radiology"]),
      )
      .option("--dry-run", "say what would be exported, and write nothing"),
  needs: () => ({ database: true }),
  access: (config, [dir], { dryRun = false }) =>
    joinAccess(configAccess(config), databaseAccess(config), {
      read: [dir, config.exportDir],
      // The program `ln` makes the link `latest`, which Deno itself allows only to who may write everywhere.
      ...(dryRun ? {} : { write: [config.exportDir], run: ["ln"] }),
    }),
  async run({ config, screen, signal, json, print }, [dir], { replace = false, dryRun = false, only }) {
    const extract = await OmopExtract.open(dir, { signal });
    await using open = await openLedger(config, signal);
    using phase = screen.phase("export", 0, "MB");
    let megabytes = 0;
    const result = await exportExtract(extract, open.ledger, config.exportDir, {
      ...{ signal, replace, dryRun },
      ...(only && { only }),
      onFile: ({ path, bytes, rows }) => {
        screen.line(`  ${path}  ${bytes} bytes${rows === null ? "" : `, ${counted(rows, "row")}`}`);
      },
      onProgress: ({ bytes, totalBytes }) => {
        phase.total(Math.ceil(totalBytes / MB));
        phase.advance(Math.floor(bytes / MB) - megabytes);
        megabytes = Math.floor(bytes / MB);
      },
    });
    const { parquetFiles, reportRows, missingReports, unchanged, folder } = result;
    const counts = `${counted(parquetFiles, "parquet file")}, ${counted(reportRows, "report")}`;
    phase.done(dryRun ? `would be ${counts} in ${folder}` : `${counts} in ${folder}${unchanged ? " (as before)" : ""}`);
    if (json) print({ project: extract.projectSlug, extract: extract.timeSlug, ...result, dryRun });
    if (missingReports > 0) {
      throw new PartialError(
        `${
          counted(missingReports, "report of this extract is", "reports of this extract are")
        } missing from the export: see 'pixl status'`,
      );
    }
  },
};
