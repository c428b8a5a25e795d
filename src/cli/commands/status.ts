import { type Broker, type QueueDepth, QueueError } from "../../queue/mod.ts";
import { brokerAccess, configAccess, databaseAccess, joinAccess } from "../access.ts";
import type { Context, PixlCommand } from "../command.ts";
import { openBroker, type OpenLedger, openLedger, openRate } from "../open.ts";
import { kindOf, queueKinds } from "../queue_names.ts";
import { agoText } from "../units.ts";
import { rateNow } from "../rate_now.ts";

type Options = { readonly queues?: string };

/** Shown even if nothing was ever on them. */
const USUAL = ["pacs", "ehr"];

interface QueueStatus extends Omit<QueueDepth, "inHand"> {
  readonly queue: string;
  readonly rate: number;
  /** `null` where the broker does not tell. */
  readonly inHand: number | null;
  /** Studies of the queue's kind that consumers have in work, on all queues of that kind; `null` where the kind is not known. */
  readonly inHandLedger: number | null;
  /** How long the message has waited that is next; `null` if none waits or its publisher did not say. */
  readonly oldestMs: number | null;
}

/** `pixl status`: what the queues hold, how fast they go, and how far each project is. */
export const statusCommand: PixlCommand<readonly [], Options> = {
  define: (program) =>
    program.command("status")
      .description("show the queues, their rates, and how far each project is")
      .option("--queues <names>", "queues to show, separated by commas (default: all that are known)"),
  needs: () => ({ database: true, broker: true }),
  access: (config) => joinAccess(configAccess(config), databaseAccess(config), brokerAccess(config)),
  async run(context, _, options) {
    const { config, screen, signal, json, print } = context;
    await using open = await openLedger(config, signal);
    await using broker = await openBroker(config, open.database, signal);
    const asked = options.queues === undefined ? undefined : queueKinds(options.queues.split(","));
    const inWork = await open.ledger.inHand({ signal });
    const queues: QueueStatus[] = [];
    for (const queue of asked?.keys() ?? new Set([...USUAL, ...await open.ledger.queues({ signal })])) {
      const kind = asked?.get(queue) ?? kindOf(queue);
      const depth = await depthOf(broker, queue, asked !== undefined || USUAL.includes(queue), signal);
      if (depth !== undefined) queues.push(await statusOf(context, open, broker, queue, depth, kind && inWork[kind]));
    }
    const projects = await open.ledger.summary(undefined, { signal });
    screen.table([
      ["queue", "rate", "ready", "delayed", "in hand", "dead", "consumers", "oldest"],
      ...queues.map(({ queue, rate, ready, delayed, inHand, inHandLedger, dead, consumers, oldestMs }) => [
        queue,
        rate,
        ready,
        delayed,
        inHand ?? inHandLedger ?? "?",
        dead,
        consumers,
        oldestMs === null ? "-" : agoText(oldestMs),
      ]),
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

/** A queue that is asked for is made if it is not there; one that was only heard of may be gone. */
async function depthOf(
  broker: Broker,
  queue: string,
  isWanted: boolean,
  signal: AbortSignal,
): Promise<QueueDepth | undefined> {
  try {
    if (isWanted) await broker.declare(queue, { signal });
    return await broker.depth(queue, { signal });
  } catch (error) {
    if (!isWanted && error instanceof QueueError && error.code === "queue-missing") return undefined;
    throw error;
  }
}

async function statusOf(
  { config, signal }: Context,
  { database }: OpenLedger,
  broker: Broker,
  queue: string,
  { inHand, ...depth }: QueueDepth,
  inHandLedger: number | null = null,
): Promise<QueueStatus> {
  const settings = await openRate(config, database, queue).settings({ signal });
  const rate = rateNow(settings, Date.now()) ?? config.defaultRate;
  const oldestMs = await broker.age(queue, { signal }) ?? null;
  return { queue, rate, ...depth, inHand: inHand ?? null, inHandLedger, oldestMs };
}
