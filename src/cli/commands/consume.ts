import { consumeQueues, type QueueService } from "../../pipeline/consume_queues.ts";
import { httpStudyService } from "../../pipeline/study_service.ts";
import { brokerAccess, configAccess, databaseAccess, joinAccess } from "../access.ts";
import { parseNumber } from "../arguments.ts";
import type { Context, PixlCommand } from "../command.ts";
import { PartialError } from "../errors.ts";
import { handlerUrls, hostAndPort, sortWords } from "../handlers.ts";
import { asService } from "../interruption.ts";
import { openBroker, openLedger, openRate } from "../open.ts";
import { type QueueKinds, queueKinds } from "../queue_names.ts";
import { counted } from "../units.ts";

type Options = {
  readonly handler: readonly string[];
  readonly rate?: number;
  readonly concurrency: number;
  readonly maxAttempts: number;
  readonly timeout: number;
  readonly grace: number;
  readonly untilEmpty?: boolean;
  readonly singleActive?: boolean;
};

/** `pixl consume QUEUE…`: asks a service for each study, at the queue's rate. */
export const consumeCommand: PixlCommand<readonly [queues: readonly string[]], Options> = {
  define: (program) =>
    program.command("consume")
      .description("work through queues: send each study to a service, at a steady rate")
      .argument("[queues...]", "pacs, ehr, imaging-primary; NAME=image or NAME=report for other names")
      .requiredOption(
        "--handler <[queue=]url...>",
        "where studies are sent by POST; one for all queues, or one for each",
      )
      .option(
        "--rate <per-second>",
        "studies a second of a queue whose rate was never set; it is kept, and 'pixl rate' changes it",
        parseNumber("--rate", { min: 0, max: 1e6 }),
      )
      .option(
        "--concurrency <n>",
        "most studies of a queue in hand at once",
        parseNumber("--concurrency", { min: 1, max: 1_000, whole: true }),
        5,
      )
      .option(
        "--max-attempts <n>",
        "attempts before a study goes to the dead letters",
        parseNumber("--max-attempts", { min: 1, max: 1_000, whole: true }),
        10,
      )
      .option(
        "--timeout <seconds>",
        "working time of one attempt",
        parseNumber("--timeout", { min: 0.001, max: 86_400 }),
        240,
      )
      .option(
        "--grace <seconds>",
        "time for what is in hand when stopped",
        parseNumber("--grace", { min: 0, max: 3_600 }),
        30,
      )
      .option("--single-active", "take nothing while another consumer of the queue does; all must say so")
      .option("--until-empty", "end when the queues are empty"),
  needs: () => ({ database: true, broker: true }),
  access: (config, [queues], { handler }) =>
    joinAccess(configAccess(config), databaseAccess(config), brokerAccess(config), {
      net: [...read(queues, handler).urls.values()].map(hostAndPort),
    }),
  run: (context, [queues], options) => asService(context.signal, () => consume(context, queues, options)),
};

async function consume(
  { config, screen, signal, json, print }: Context,
  queues: readonly string[],
  options: Options,
): Promise<void> {
  const { kinds, urls } = read(queues, options.handler);
  await using open = await openLedger(config, signal);
  await using broker = await openBroker(config, open.database, signal);
  if (options.rate !== undefined) {
    for (const queue of urls.keys()) {
      // A restart must not lift a pause that somebody ordered.
      const store = openRate(config, open.database, queue);
      const set = await store.set({ rate: options.rate }, { signal, unlessSetSince: -Infinity });
      const { rate: stored } = await store.settings({ signal });
      if (!set && stored !== options.rate) {
        screen.line(
          `${queue} keeps the rate ${stored} that was set: 'pixl rate ${queue} ${options.rate}' changes it`,
        );
      }
    }
  }
  if (!options.untilEmpty) {
    screen.line(`Waiting for studies of ${[...urls.keys()].join(", ")}; SIGTERM or Ctrl-C stops`);
  }
  using phase = screen.phase(`consume ${[...urls.keys()].join(" ")}`, 0, "studies");
  const services = new Map<string, QueueService>(
    [...kinds].flatMap(([queue, kind]) => {
      const url = urls.get(queue);
      return url === undefined ? [] : [[queue, { kind, service: httpStudyService(url) }]];
    }),
  );
  const counts = await consumeQueues(open.ledger, broker, services, {
    rateOf: (queue) => openRate(config, open.database, queue),
    owner: crypto.randomUUID(),
    concurrency: options.concurrency,
    maxAttempts: options.maxAttempts,
    handlerTimeoutMs: options.timeout * 1_000,
    graceMs: options.grace * 1_000,
    untilEmpty: options.untilEmpty === true,
    singleActive: options.singleActive === true,
    signal,
    onOutcome: (_, outcome) => {
      if (outcome === "done") phase.advance();
    },
  });
  const dead = Object.values(counts).reduce((sum, count) => sum + count.dead, 0);
  phase.done(
    Object.entries(counts).map(([queue, { done, retried, requeued, dead }]) =>
      `${queue}: ${done} done, ${retried + requeued} put back, ${dead} dead`
    ).join("; "),
  );
  if (json) print({ queues: counts });
  if (dead > 0 && !signal.aborted) {
    throw new PartialError(`${counted(dead, "study", "studies")} went to the dead letters: 'pixl dead' says why`);
  }
}

/** What the words of the command line say. */
function read(
  queues: readonly string[],
  handler: readonly string[],
): { readonly kinds: QueueKinds; readonly urls: ReadonlyMap<string, URL> } {
  const words = sortWords({ queues, handlers: handler });
  const kinds = queueKinds(words.queues);
  return { kinds, urls: handlerUrls([...kinds.keys()], words.handlers) };
}
