import { retryProject } from "../../pipeline/retry_project.ts";
import type { Priority } from "../../queue/mod.ts";
import { brokerAccess, configAccess, databaseAccess, joinAccess } from "../access.ts";
import { parsePriority } from "../arguments.ts";
import type { PixlCommand } from "../command.ts";
import { ConfigError } from "../errors.ts";
import { openBroker, openLedger } from "../open.ts";
import { queuesToFill } from "../queue_names.ts";
import { warnOfWaiting } from "../waiting.ts";
import { counted } from "../units.ts";

type Options = {
  readonly queues: string;
  readonly failed?: boolean;
  readonly unfinished?: boolean;
  readonly priority?: Priority;
};

/** `pixl retry PROJECT`: puts on the queues again exactly what is missing. */
export const retryCommand: PixlCommand<readonly [project: string], Options> = {
  define: (program) =>
    program.command("retry")
      .description("put a project's missing studies on the queues again")
      .argument("<project>", "the project's slug, as 'pixl status' shows it")
      .option("--failed", "those that failed (what happens without an option)")
      .option("--unfinished", "these, and all that wait: when a queue was lost with its messages")
      .option("--priority <n>", "how urgent they are, from 1 to 5, the most urgent", parsePriority)
      .option(
        "--queues <names>",
        "queues to fill, separated by commas; those that were given to 'populate'",
        "pacs,ehr",
      ),
  needs: () => ({ database: true, broker: true }),
  access: (config) => joinAccess(configAccess(config), databaseAccess(config), brokerAccess(config)),
  async run({ config, screen, signal, json, print }, [project], { queues, failed, unfinished, priority }) {
    if (failed && unfinished) throw new ConfigError(["--failed and --unfinished are both given: keep one"]);
    const kinds = queuesToFill(queues.split(","));
    await using open = await openLedger(config, signal);
    await using broker = await openBroker(config, open.database, signal);
    if (unfinished) await warnOfWaiting(broker, kinds, screen, signal);
    using phase = screen.phase("retry", 0, "messages");
    const { published, dropped } = await retryProject(
      open.ledger,
      broker,
      kinds,
      project,
      unfinished ? "unfinished" : "failed",
      {
        signal,
        ...(priority === undefined ? {} : { priority }),
        onPublished: (_, count) => phase.advance(count),
      },
    );
    phase.done(Object.entries(published).map(([queue, count]) => `${count} to ${queue}`).join(", "));
    for (const [queue, count] of Object.entries(dropped)) {
      if (count > 0) {
        screen.line(
          `  deleted ${counted(count, "dead letter")} of ${queue}: their studies are asked for again, or mended`,
        );
      }
    }
    if (json) print({ project, published, dropped });
  },
};
