import { OmopExtract } from "../../exports/mod.ts";
import { exportExtract } from "../../pipeline/export_extract.ts";
import { configAccess, databaseAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { PartialError } from "../errors.ts";
import { openLedger } from "../open.ts";

type Options = { readonly replace?: boolean };

/** `pixl export DIR`: writes an extract's parquet files. */
export const exportCommand: PixlCommand<readonly [dir: string], Options> = {
  define: (program) =>
    program.command("export")
      .description("write an extract's OMOP tables and radiology reports as parquet files")
      .argument("<dir>", "the extract that was populated")
      .option("--replace", "replace an export of this extract that differs"),
  needs: () => ({ database: true }),
  access: (config, [dir]) =>
    joinAccess(configAccess(config), databaseAccess(config), {
      read: [dir, config.exportDir],
      write: [config.exportDir],
      // Makes the link `latest`, which Deno itself allows only to who may write everywhere.
      run: ["ln"],
    }),
  async run({ config, screen, signal, json, print }, [dir], { replace = false }) {
    const extract = await OmopExtract.open(dir, { signal });
    await using open = await openLedger(config, signal);
    using phase = screen.phase("export", 0, "files");
    const result = await exportExtract(extract, open.ledger, config.exportDir, {
      signal,
      replace,
      onFile: () => phase.advance(),
    });
    const { parquetFiles, reportRows, missingReports, unchanged, folder } = result;
    phase.done(`${parquetFiles} parquet files, ${reportRows} reports in ${folder}${unchanged ? " (as before)" : ""}`);
    if (json) print({ project: extract.projectSlug, extract: extract.timeSlug, ...result });
    if (missingReports > 0) {
      throw new PartialError(
        `${missingReports} reports of this extract are missing from the export: see 'pixl status'`,
      );
    }
  },
};
