import { type DroppedCounts, OmopExtract } from "../../exports/mod.ts";
import { populate } from "../../pipeline/populate.ts";
import { brokerAccess, configAccess, databaseAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { openBroker, openLedger } from "../open.ts";
import { queueNames } from "../queue_names.ts";

type Options = {
  readonly queues: string;
};

/** `pixl populate DIR`: registers an extract's studies and fills the queues. */
export const populateCommand: PixlCommand<readonly [dir: string], Options> = {
  define: (program) =>
    program.command("populate")
      .description("register the studies of an OMOP ES extract and put them on the queues")
      .argument("<dir>", "the extract: holds extract_summary.json, private/ and public/")
      .option("--queues <names>", "queues to fill, separated by commas", "pacs,ehr"),
  needs: () => ({ database: true, broker: true }),
  access: (config, [dir]) =>
    joinAccess(configAccess(config), databaseAccess(config), brokerAccess(config), { read: [dir] }),
  async run({ config, screen, signal, json, print }, [dir], { queues }) {
    const extract = await OmopExtract.open(dir, { signal });
    await using open = await openLedger(config, signal);
    await using broker = await openBroker(config, open.database, signal);
    const names = queueNames(queues.split(","));
    using phase = screen.phase("populate", 0, "messages");
    const result = await populate(extract, open.ledger, broker, names, {
      signal,
      onPublished: (_, count) => phase.advance(count),
    });
    const dropped = extract.dropped;
    phase.done(`${result.studies} studies (${result.added} new), published ${describe(result.published)}`);
    for (const [reason, count] of Object.entries(dropped)) {
      if (count > 0) screen.line(`  left out ${count} procedures: ${REASONS[reason as keyof DroppedCounts]}`);
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
