import { InvalidArgumentError } from "commander";
import { RateSchedule, RateScheduleError } from "../../rate_limiter/mod.ts";
import { configAccess, databaseAccess, joinAccess } from "../access.ts";
import { parseNumber } from "../arguments.ts";
import type { PixlCommand } from "../command.ts";
import { openLedger, openRate } from "../open.ts";
import { queueKinds } from "../queue_names.ts";
import { rateNow } from "../rate_now.ts";

type Options = { readonly capacity?: number; readonly schedule?: RateSchedule | false };

/** `pixl rate QUEUE [R]`: shows or sets a queue's rate; running consumers follow within a second. */
export const rateCommand: PixlCommand<readonly [queue: string, rate: number | undefined], Options> = {
  define: (program) =>
    program.command("rate")
      .description("show or set how many studies a second are taken from a queue; 0 pauses it")
      .argument("<queue>", "the queue's name")
      .argument("[rate]", "studies a second, for all its consumers together", parseNumber("rate", { min: 0, max: 1e6 }))
      .option(
        "--capacity <n>",
        "most studies at once after a quiet time",
        parseNumber("--capacity", { min: 1, max: 1e6, whole: true }),
      )
      .option(
        "--schedule <text>",
        "rates by day and time: 'mon-fri 08:00-18:00 Europe/London = 1; otherwise 5'",
        parseSchedule,
      )
      .option("--no-schedule", "end the schedule; the rate stays"),
  needs: () => ({ database: true }),
  access: (config) => joinAccess(configAccess(config), databaseAccess(config)),
  async run({ config, screen, signal, json, print }, [name, rate], { capacity, schedule }) {
    const [queue = name] = queueKinds([name]).keys();
    await using open = await openLedger(config, signal);
    const store = openRate(config, open.database, queue);
    if (schedule !== undefined) await store.setSchedule(schedule === false ? null : String(schedule), { signal });
    // A rate given with a schedule holds until its next window, as one that is given later does.
    const now = rate ?? (schedule ? schedule.rateAt(Date.now()) : undefined);
    if (now !== undefined || capacity !== undefined) {
      await store.set(
        { ...(now === undefined ? {} : { rate: now }), ...(capacity === undefined ? {} : { capacity }) },
        { signal },
      );
    }

    const settings = await store.settings({ signal });
    const set = rateNow(settings, Date.now());
    const current = set ?? config.defaultRate;
    const most = settings.capacity ?? config.defaultCapacity;
    const pace = current === 0 ? "paused" : `${current} studies a second, at most ${most} at once`;
    screen.line(`${queue}: ${pace}${set === undefined ? " (the default; never set)" : ""}`);
    if (settings.schedule !== undefined) screen.line(`Schedule: ${settings.schedule}`);
    if (json) {
      print({
        queue,
        rate: current,
        capacity: most,
        set: set !== undefined,
        ...(settings.schedule === undefined ? {} : { schedule: settings.schedule }),
      });
    }
  },
};

function parseSchedule(text: string): RateSchedule {
  try {
    return RateSchedule.parse(text);
  } catch (error) {
    throw error instanceof RateScheduleError ? new InvalidArgumentError(error.message) : error;
  }
}
