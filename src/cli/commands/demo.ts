import { join } from "node:path";
import { demo } from "../../demo/demo.ts";
import { drawTree } from "../../demo/tree.ts";
import { parseNumber } from "../arguments.ts";
import type { PixlCommand } from "../command.ts";
import { ConfigError, PartialError } from "../errors.ts";
import { openEmbedded } from "../open.ts";

type Options = {
  readonly dir?: string;
  readonly studies?: number;
  readonly rate: number;
  readonly omopDir?: string;
};

/** Of the synthetic extract. */
const STUDIES = 40;

/** `pixl demo`: the whole job on embedded defaults. */
export const demoCommand: PixlCommand<readonly [], Options> = {
  define: (program) =>
    program.command("demo")
      .description(
        "run the whole job on one machine: synthetic extract, simulated hospital, embedded database and FTPS receiver",
      )
      .option("--dir <dir>", "keep everything in this folder; run again on it and nothing is sent twice")
      .option(
        "--studies <n>",
        `studies of the synthetic extract (default: ${STUDIES})`,
        parseNumber("--studies", { min: 2, max: 1e6, whole: true }),
      )
      .option(
        "--rate <per-second>",
        "studies a second of each queue",
        parseNumber("--rate", { min: 0.01, max: 1e6 }),
        20,
      )
      .option("--omop-dir <dir>", "use this extract instead of a synthetic one"),
  needs: () => ({}),
  access: (_config, _args, { dir, omopDir }) => {
    const folder = dir ?? Deno.env.get("TMPDIR") ?? "/tmp";
    return {
      read: [".env", folder, ...(omopDir === undefined ? [] : [omopDir])],
      write: [folder],
      net: ["127.0.0.1"],
      run: ["ln"],
    };
  },
  async run({ screen, signal, json, print }, _, { dir, studies, rate, omopDir }) {
    const given = omopDir ?? (dir !== undefined && await holdsExtract(dir) ? dir : undefined);
    if (studies !== undefined && given !== undefined) {
      screen.line(`--studies ${studies} is not used: '${given}' holds an extract already`);
    }
    const folder = dir ?? await Deno.makeTempDir({ prefix: "pixl-demo-" });
    await makeFolder(folder);
    try {
      const { report, problems, arrived } = await demo({
        dir: folder,
        studies: studies ?? STUDIES,
        rate,
        ...(omopDir === undefined ? {} : { omopDir }),
        openDatabase: (path) => openEmbedded(path, signal),
        progress: screen,
        signal,
      });
      if (json) print(report);
      else {
        for (
          const line of [
            "",
            `What arrived (${dir === undefined ? "removed at the end; --dir keeps it" : join(folder, "dsh")}):`,
          ]
        ) screen.line(line);
        for (const line of drawTree(arrived)) screen.line(`  ${line}`);
        screen.line("");
        const { studies, published, handled, dead, exported, ledger, uploaded } = report;
        screen.table([
          ["", "pacs", "ehr"],
          ["studies", studies, studies],
          ["published", published.pacs, published.ehr],
          ["handled", handled.pacs, handled.ehr],
          ["dead letters", dead.pacs, dead.ehr],
          ["exported", ledger.exported, exported.reportRows],
        ]);
        screen.line(
          `  sent ${uploaded.images} zips and ${uploaded.exportFiles} files of the export (${uploaded.bytes} bytes); ` +
            `${uploaded.verified} files at the destination verified; ${report.retries} tried again; ${report.seconds} s`,
        );
      }
      if (problems.length > 0) throw new PartialError(`The counts do not agree: ${problems.join("; ")}`);
    } finally {
      if (dir === undefined) await Deno.remove(folder, { recursive: true });
    }
  },
};

/** Whether an earlier demo has written its extract there. */
async function holdsExtract(dir: string): Promise<boolean> {
  return await Deno.stat(join(dir, "extract", "extract_summary.json")).then(() => true, () => false);
}

async function makeFolder(dir: string): Promise<void> {
  try {
    await Deno.mkdir(dir, { recursive: true, mode: 0o700 });
    await Deno.remove(await Deno.makeTempFile({ dir }));
  } catch (cause) {
    throw new ConfigError([`Cannot write in '${dir}': give --dir a folder that this user can write to`], { cause });
  }
}
