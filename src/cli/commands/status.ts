import { brokerAccess, configAccess, databaseAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { openBroker, openLedger, openRate } from "../open.ts";
import { queueKinds } from "../queue_names.ts";
import { rateNow } from "../rate_now.ts";

type Options = { readonly queues: string };

/** `pixl status`: what the queues hold, how fast they go, and how far each project is. */
export const statusCommand: PixlCommand<readonly [], Options> = {
  define: (program) =>
    program.command("status")
      .description("show the queues, their rates, and how far each project is")
      .option("--queues <names>", "queues to show, separated by commas", "pacs,ehr"),
  needs: () => ({ database: true, broker: true }),
  access: (config) => joinAccess(configAccess(config), databaseAccess(config), brokerAccess(config)),
  async run({ config, screen, signal, json, print }, _, options) {
    await using open = await openLedger(config, signal);
    await using broker = await openBroker(config, open.database, signal);
    const queues = [];
    for (const queue of queueKinds(options.queues.split(",")).keys()) {
      await broker.declare(queue, { signal });
      const depth = await broker.depth(queue, { signal });
      const settings = await openRate(config, open.database, queue).settings({ signal });
      queues.push({ queue, rate: rateNow(settings, Date.now()) ?? config.defaultRate, ...depth });
    }
    const projects = await open.ledger.summary(undefined, { signal });
    screen.table([
      ["queue", "rate", "ready", "delayed", "in hand", "dead"],
      ...queues.map((
        { queue, rate, ready, delayed, inHand, dead },
      ) => [queue, rate, ready, delayed, inHand ?? "?", dead]),
    ]);
    if (projects.length > 0) {
      screen.table([
        ["project", "asked for", "state", "studies"],
        ...projects.map(({ projectSlug, kind, state, count }) => [projectSlug, kind, state, count]),
      ]);
    }
    if (json) print({ queues, projects });
  },
};
