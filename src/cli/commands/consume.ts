import { consumeQueues } from "../../pipeline/consume_queues.ts";
import { httpStudyService, type StudyService } from "../../pipeline/study_service.ts";
import { brokerAccess, configAccess, databaseAccess, joinAccess, netHost } from "../access.ts";
import { parseNumber } from "../arguments.ts";
import type { PixlCommand } from "../command.ts";
import { ConfigError, PartialError } from "../errors.ts";
import { Interrupted } from "../interruption.ts";
import { openBroker, openLedger } from "../open.ts";
import { queueNames } from "../queue_names.ts";

type Options = {
  readonly handler: readonly string[];
  readonly rate?: number;
  readonly concurrency: number;
  readonly maxAttempts: number;
  readonly timeout: number;
  readonly grace: number;
  readonly untilEmpty?: boolean;
};

/** `pixl consume QUEUE…`: asks a service for each study, at the queue's rate. */
export const consumeCommand: PixlCommand<readonly [queues: readonly string[]], Options> = {
  define: (program) =>
    program.command("consume")
      .description("work through queues: send each study to a service, at a steady rate")
      .argument("<queues...>", "names of queues, for example pacs ehr")
      .requiredOption(
        "--handler <[queue=]url...>",
        "where studies are sent by POST; one for all queues, or one for each",
      )
      .option(
        "--rate <per-second>",
        "studies a second of each queue; kept until changed by 'pixl rate'",
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
        5,
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
      .option("--until-empty", "end when the queues are empty"),
  needs: () => ({ database: true, broker: true }),
  access: (config, [queues], { handler }) =>
    joinAccess(configAccess(config), databaseAccess(config), brokerAccess(config), {
      net: [...handlerUrls(queueNames(queues), handler).values()].map(hostAndPort),
    }),
  async run({ config, screen, signal, json, print }, [queues], options) {
    const urls = handlerUrls(queueNames(queues), options.handler);
    await using open = await openLedger(config, signal);
    await using broker = await openBroker(config, open.database, signal);
    if (options.rate !== undefined) {
      for (const queue of urls.keys()) await open.ledger.setRate(queue, options.rate);
    }
    if (!options.untilEmpty) {
      screen.line(`Waiting for studies of ${[...urls.keys()].join(", ")}; SIGTERM or Ctrl-C stops`);
    }
    using phase = screen.phase(`consume ${[...urls.keys()].join(" ")}`, 0, "studies");
    const services = new Map<string, StudyService>([...urls].map(([queue, url]) => [queue, httpStudyService(url)]));
    const counts = await consumeQueues(open.ledger, broker, services, {
      defaultRate: config.defaultRate,
      owner: crypto.randomUUID(),
      concurrency: options.concurrency,
      maxAttempts: options.maxAttempts,
      handlerTimeoutMs: options.timeout * 1_000,
      graceMs: options.grace * 1_000,
      untilEmpty: options.untilEmpty === true,
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
    // SIGTERM is how services are stopped, so that is no error; Ctrl-C is an interruption as everywhere.
    if (signal.reason instanceof Interrupted && signal.reason.by === "SIGINT") throw signal.reason;
    if (dead > 0) throw new PartialError(`${dead} studies went to the dead letters: 'pixl status' counts them`);
  },
};

/** One URL for each queue, from `URL` for all or `QUEUE=URL` for one. */
function handlerUrls(queues: readonly string[], handlers: readonly string[]): Map<string, URL> {
  const problems: string[] = [];
  const urls = new Map<string, URL>();
  for (const handler of handlers) {
    const [, named, text = ""] = /^(?:([A-Za-z0-9._-]+)=)?(.*)$/.exec(handler) ?? [];
    const url = URL.parse(text);
    if (url === null || !/^https?:$/.test(url.protocol)) {
      problems.push(`--handler must be a URL of http or https: '${text}' is none`);
    } else if (named === undefined) queues.forEach((queue) => urls.has(queue) || urls.set(queue, url));
    else if (queues.includes(named)) urls.set(named, url);
    else problems.push(`--handler is given for the queue '${named}', which is not consumed`);
  }
  for (const queue of queues) {
    if (!urls.has(queue) && problems.length === 0) {
      problems.push(`Queue '${queue}' has no handler: add --handler ${queue}=URL`);
    }
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return urls;
}

function hostAndPort(url: URL): string {
  return `${netHost(url.hostname)}:${url.port || (url.protocol === "https:" ? "443" : "80")}`;
}
