import { type DroppedCounts, OmopExtract } from "../../exports/mod.ts";
import { populate } from "../../pipeline/populate.ts";
import type { Priority } from "../../queue/mod.ts";
import { brokerAccess, configAccess, databaseAccess, joinAccess } from "../access.ts";
import { parsePriority } from "../arguments.ts";
import type { PixlCommand } from "../command.ts";
import { openBroker, openLedger } from "../open.ts";
import { queuesToFill } from "../queue_names.ts";
import { warnOfWaiting } from "../waiting.ts";

type Options = {
  readonly queues: string;
  readonly again?: boolean;
  readonly priority?: Priority;
};

/** `pixl populate DIR`: registers an extract's studies and fills the queues. */
export const populateCommand: PixlCommand<readonly [dir: string], Options> = {
  define: (program) =>
    program.command("populate")
      .description("register the studies of an OMOP ES extract and put them on the queues")
      .argument("<dir>", "the extract: holds extract_summary.json, private/ and public/")
      .option(
        "--queues <names>",
        "queues to fill, separated by commas; NAME=image or NAME=report for other names",
        "pacs,ehr",
      )
      .option("--priority <n>", "how urgent the studies are, from 1 to 5, the most urgent", parsePriority)
      .option("--again", "also publish studies that failed, and those whose message was lost with its queue"),
  needs: () => ({ database: true, broker: true }),
  access: (config, [dir]) =>
    joinAccess(configAccess(config), databaseAccess(config), brokerAccess(config), { read: [dir] }),
  async run({ config, screen, signal, json, print }, [dir], { queues, again = false, priority }) {
    const kinds = queuesToFill(queues.split(","));
    const extract = await OmopExtract.open(dir, { signal });
    await using open = await openLedger(config, signal);
    await using broker = await openBroker(config, open.database, signal);
    if (again) await warnOfWaiting(broker, kinds, screen, signal);
    using phase = screen.phase("populate", 0, "messages");
    const result = await populate(extract, open.ledger, broker, kinds, {
      again,
      signal,
      ...(priority === undefined ? {} : { priority }),
      onPublished: (_, count) => phase.advance(count),
    });
    const dropped = extract.dropped;
    phase.done(`${result.studies} studies (${result.added} new), published ${describe(result.published)}`);
    for (const [reason, count] of Object.entries(dropped)) {
      if (count > 0) screen.line(`  left out ${count} procedures: ${REASONS[reason as keyof DroppedCounts]}`);
    }
    const failed = (await open.ledger.summary(extract.projectSlug, { signal }))
      .filter(({ state }) => state === "failed").reduce((sum, { count }) => sum + count, 0);
    if (failed > 0) {
      screen.line(`  ${failed} images or reports of this project failed before: --again asks for them again`);
    }
    if (json) print({ project: extract.projectSlug, extract: extract.timeSlug, ...result, dropped });
  },
};

const REASONS: Readonly<Record<keyof DroppedCounts, string>> = {
  noAccessionNumber: "no accession number, so no images",
  unknownPerson: "their person has no MRN",
  noStudyDate: "no date",
  unusable: "an MRN or accession number with control characters, or too long",
  duplicate: "the same study as one before",
};

function describe(published: Readonly<Record<string, number>>): string {
  return Object.entries(published).map(([queue, count]) => `${count} to ${queue}`).join(", ");
}
