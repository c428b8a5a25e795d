import { configAccess, databaseAccess, joinAccess } from "../access.ts";
import { parseNumber } from "../arguments.ts";
import type { PixlCommand } from "../command.ts";
import { openLedger } from "../open.ts";
import { queueKinds } from "../queue_names.ts";

/** `pixl rate QUEUE [R]`: shows or sets a queue's rate; running consumers follow within a second. */
export const rateCommand: PixlCommand<readonly [queue: string, rate: number | undefined]> = {
  define: (program) =>
    program.command("rate")
      .description("show or set how many studies a second are taken from a queue; 0 pauses it")
      .argument("<queue>", "the queue's name")
      .argument("[rate]", "studies a second", parseNumber("rate", { min: 0, max: 1e6 })),
  needs: () => ({ database: true }),
  access: (config) => joinAccess(configAccess(config), databaseAccess(config)),
  async run({ config, screen, signal, json, print }, [name, rate]) {
    const [queue = name] = queueKinds([name]).keys();
    await using open = await openLedger(config, signal);
    if (rate !== undefined) await open.ledger.setRate(queue, rate, { signal });
    const stored = await open.ledger.rate(queue, { signal });
    const current = stored ?? config.defaultRate;
    const pace = current === 0 ? "paused" : `${current} studies a second`;
    screen.line(`${queue}: ${pace}${stored === undefined ? " (the default; never set)" : ""}`);
    if (json) print({ queue, rate: current, set: stored !== undefined });
  },
};
