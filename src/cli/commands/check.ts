import { checkProject } from "../../pipeline/check_project.ts";
import { ProjectUnknownError } from "../../pipeline/errors.ts";
import { configAccess, databaseAccess, destinationAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { PartialError } from "../errors.ts";
import { openLedger, openUpload } from "../open.ts";
import { counted } from "../units.ts";

type Options = { readonly repair?: boolean };

/** `pixl check PROJECT`: compares the ledger, the folders here and the Data Safe Haven. */
export const checkCommand: PixlCommand<readonly [project: string], Options> = {
  define: (program) =>
    program.command("check")
      .description("compare what the ledger says has left with what is at the Data Safe Haven and in the folders here")
      .argument("<project>", "the project's slug, as 'pixl status' shows it")
      .option("--repair", "set studies back that are exported but missing there, so that they are sent again"),
  needs: () => ({ database: true, destination: true }),
  access: async (config) =>
    joinAccess(configAccess(config), databaseAccess(config), await destinationAccess(config, 1), {
      read: [config.exportDir, config.imageDir],
    }),
  async run({ config, screen, signal, json, print }, [project], { repair = false }) {
    await using open = await openLedger(config, signal);
    if (await open.ledger.findExtract(project, undefined, { signal }) === undefined) {
      throw new ProjectUnknownError(project);
    }
    await using destination = await openUpload(config, { connections: 1 }, open.ledger, signal);
    const { exportDir, imageDir } = config;
    const result = await checkProject(open.ledger, destination, project, { exportDir, imageDir, repair, signal });
    for (const { side, problem, path, remedy } of result.disagreements) {
      screen.line(`  ${problem} ${WHERE[side]}: ${path}: ${remedy}`);
    }
    screen.line(
      `${counted(result.agreed, "file agrees", "files agree")}, ${
        counted(result.disagreements.length, "does", "do")
      } not, at ${destination.name}`,
    );
    if (json) print({ project, destination: destination.name, ...result });
    const left = result.disagreements.filter(({ repaired }) => !repaired).length;
    if (left > 0) throw new PartialError(`${counted(left, "file does not agree", "files do not agree")}: see above`);
  },
};

const WHERE = { dsh: "at the Data Safe Haven", ledger: "in the ledger", local: "here" } as const;
