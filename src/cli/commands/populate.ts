import { type DroppedCounts, OmopExtract, StudyCsv, type StudySource } from "../../exports/mod.ts";
import { populate, type PopulateResult } from "../../pipeline/populate.ts";
import type { Priority } from "../../queue/mod.ts";
import { brokerAccess, configAccess, databaseAccess, joinAccess } from "../access.ts";
import { parsePriority } from "../arguments.ts";
import type { PixlCommand } from "../command.ts";
import { openBroker, openLedger } from "../open.ts";
import { queuesToFill } from "../queue_names.ts";
import { warnOfWaiting } from "../waiting.ts";
import { counted } from "../units.ts";

type Options = {
  readonly queues: string;
  readonly again?: boolean;
  readonly priority?: Priority;
};

/** `pixl populate EXTRACT`: registers studies and fills the queues. */
export const populateCommand: PixlCommand<readonly [path: string], Options> = {
  define: (program) =>
    program.command("populate")
      .description("register the studies of an OMOP ES extract, or of a list, and put them on the queues")
      .argument("<extract>", "a folder with extract_summary.json, private/ and public/; or a CSV file of studies")
      .option(
        "--queues <names>",
        "queues to fill, separated by commas; NAME=image or NAME=report for other names",
        "pacs,ehr",
      )
      .option("--priority <n>", "how urgent the studies are, from 1 to 5, the most urgent", parsePriority)
      .option("--again", "also publish studies that failed, and those whose message was lost with its queue"),
  needs: () => ({ database: true, broker: true }),
  access: (config, [path]) =>
    joinAccess(configAccess(config), databaseAccess(config), brokerAccess(config), { read: [path] }),
  async run({ config, screen, signal, json, print }, [path], { queues, again = false, priority }) {
    const kinds = queuesToFill(queues.split(","));
    const isList = await isFile(path);
    const extracts = isList
      ? (await StudyCsv.open(path, { signal })).extracts
      : [await OmopExtract.open(path, { signal })];
    await using open = await openLedger(config, signal);
    await using broker = await openBroker(config, open.database, signal);
    if (again) await warnOfWaiting(broker, kinds, screen, signal);
    const populated = [];
    for (const extract of extracts) {
      using phase = screen.phase("populate", 0, "messages");
      const result = await populate(extract, open.ledger, broker, kinds, {
        again,
        signal,
        ...(priority === undefined ? {} : { priority }),
        onPublished: (_, count) => phase.advance(count),
      });
      phase.done(`${isList ? `${extract.projectSlug}: ` : ""}${describe(result)}`);
      for (const [reason, count] of Object.entries(extract.dropped)) {
        if (count > 0) screen.line(`  left out ${count} procedures: ${REASONS[reason as keyof DroppedCounts]}`);
      }
      const failed = (await open.ledger.summary(extract.projectSlug, { signal }))
        .filter(({ state }) => state === "failed").reduce((sum, { count }) => sum + count, 0);
      if (failed > 0) {
        screen.line(`  ${failed} images or reports of this project failed before: --again asks for them again`);
      }
      populated.push(documentOf(extract, result));
    }
    if (json) print(isList ? { extracts: populated } : populated[0]);
  },
};

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    return false; // what is wrong with it is said when it is opened
  }
}

function documentOf(extract: StudySource, result: PopulateResult): unknown {
  return { project: extract.projectSlug, extract: extract.timeSlug, ...result, dropped: extract.dropped };
}

const REASONS: Readonly<Record<keyof DroppedCounts, string>> = {
  noAccessionNumber: "no accession number, so no images",
  unknownPerson: "their person has no MRN",
  noStudyDate: "no date",
  unusable: "an MRN or accession number with control characters, or too long",
  duplicate: "the same study as one before",
};

function describe({ studies, added, published }: PopulateResult): string {
  const accepted = Object.entries(published).map(([queue, count]) => `${count} to ${queue}`).join(", ");
  return `${counted(studies, "study", "studies")} (${added} new), published ${accepted}`;
}
