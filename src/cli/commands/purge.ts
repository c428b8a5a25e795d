import { brokerAccess, configAccess, databaseAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { ConfigError } from "../errors.ts";
import { openBroker, openLedger } from "../open.ts";
import { oneQueue } from "../queue_names.ts";
import { counted } from "../units.ts";

type Options = { readonly yes?: boolean };

/** `pixl purge QUEUE`: deletes what waits on a queue. */
export const purgeCommand: PixlCommand<readonly [queue: string], Options> = {
  define: (program) =>
    program.command("purge")
      .description("delete every message that waits on a queue; not those in hand, nor the dead letters")
      .argument("<queue>", "the queue's name")
      .option("--yes", "really; without it, only their number is said"),
  needs: () => ({ database: true, broker: true }),
  access: (config) => joinAccess(configAccess(config), databaseAccess(config), brokerAccess(config)),
  async run({ config, screen, signal, json, print }, [name], { yes = false }) {
    const { queue } = oneQueue(name);
    await using open = await openLedger(config, signal);
    await using broker = await openBroker(config, open.database, signal);
    await broker.declare(queue, { signal });
    if (!yes) {
      const { ready, delayed } = await broker.depth(queue, { signal });
      throw new ConfigError([
        `${
          counted(ready + delayed, "message waits", "messages wait")
        } on ${queue}: say --yes to delete them, or keep them in a file with 'pixl drain'`,
      ]);
    }
    const purged = await broker.purge(queue, { signal });
    screen.line(`Deleted ${counted(purged, "message")} of ${queue}`);
    if (purged > 0) {
      screen.line(
        "  the ledger still has their studies as queued: 'pixl retry PROJECT --unfinished' asks for them again",
      );
    }
    if (json) print({ queue, purged });
  },
};
