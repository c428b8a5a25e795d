import { join } from "node:path";
import { ParquetExport, slugify, timeSlug } from "../../exports/mod.ts";
import { normaliseTimestamp } from "../../timestamp.ts";
import { configAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { PartialError } from "../errors.ts";
import { counted } from "../units.ts";

/** `pixl verify PROJECT [EXTRACT]`: compares an export with its manifest. */
export const verifyCommand: PixlCommand<readonly [project: string, extract?: string], Record<string, never>> = {
  define: (program) =>
    program.command("verify")
      .description("hash an export's files again and compare them with its manifest")
      .argument("<project>", "the project's name or folder")
      .argument("[extract]", "the extract's time or folder; without it, the project's latest"),
  needs: () => ({}),
  access: (config) => joinAccess(configAccess(config), { read: [config.exportDir] }),
  async run({ config, screen, signal, json, print }, [project, extract]) {
    const projectDir = join(config.exportDir, slugify(project));
    const dir = extract === undefined
      ? join(projectDir, "latest")
      : join(projectDir, "all_extracts", folderOf(extract));
    using phase = screen.phase("verify", 0, "files");
    const { manifest, problems } = await ParquetExport.verify(dir, { signal, onFile: () => phase.advance() });
    const { files } = manifest;
    if (json) print({ project: manifest.project, extract: manifest.extract, files: files.length, problems });
    for (const { path, problem } of problems) screen.line(`  ${problem}: ${path}`);
    if (problems.length > 0) {
      throw new PartialError(
        `${counted(problems.length, "file differs", "files differ")} from the manifest in '${dir}': export again`,
      );
    }
    phase.done(`${counted(files.length, "file")} of ${manifest.project}/${manifest.extract}, as the manifest says`);
  },
};

/** A folder's name is given as it is; made a slug, it cannot lead elsewhere. */
function folderOf(extract: string): string {
  return normaliseTimestamp(extract) === undefined ? slugify(extract) : timeSlug(extract);
}
