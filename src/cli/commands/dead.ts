import { retryDead } from "../../pipeline/dead_letters.ts";
import {
  type Broker,
  type DeadLetterSelection,
  dropDeadLetters,
  type KeptMessage,
  listDeadLetters,
} from "../../queue/mod.ts";
import { brokerAccess, configAccess, databaseAccess, joinAccess } from "../access.ts";
import type { Context, PixlCommand } from "../command.ts";
import { ConfigError } from "../errors.ts";
import { openBroker, openLedger } from "../open.ts";
import { oneQueue } from "../queue_names.ts";
import { counted } from "../units.ts";

type Options = {
  readonly retry?: boolean;
  readonly drop?: boolean;
  readonly id?: string;
  readonly reason?: string;
  readonly all?: boolean;
};

/** `pixl dead QUEUE`: lists, retries or drops the dead letters of a queue. Never shows what is in them. */
export const deadCommand: PixlCommand<readonly [queue: string], Options> = {
  define: (program) =>
    program.command("dead")
      .description("list the dead letters of a queue, put them on the queue again, or delete them")
      .argument("<queue>", "the queue's name")
      .option("--retry", "put them on the queue again, as first attempts")
      .option("--drop", "delete them for good; the ledger keeps their studies as failed")
      .option("--id <id>", "only those with that message id")
      .option("--reason <text>", "only those whose reason holds that text")
      .option("--all", "all of them"),
  needs: () => ({ database: true, broker: true }),
  access: (config) => joinAccess(configAccess(config), databaseAccess(config), brokerAccess(config)),
  async run(context, [name], options) {
    const { config, screen, signal, json, print } = context;
    const { queue, kind } = oneQueue(name);
    const selection = selectionOf(options);
    await using open = await openLedger(config, signal);
    await using broker = await openBroker(config, open.database, signal);
    await broker.declare(queue, { signal });
    if (options.retry) {
      const retried = await retryDead(open.ledger, broker, queue, kind, selection, { signal });
      screen.line(`${counted(retried, "dead letter waits", "dead letters wait")} on ${queue} again`);
      if (json) print({ queue, retried });
    } else if (options.drop) {
      const dropped = await dropDeadLetters(broker, queue, selection, { signal });
      screen.line(`Deleted ${counted(dropped, "dead letter")} of ${queue}; the ledger keeps their studies as failed`);
      if (json) print({ queue, dropped });
    } else await list(context, broker, queue, selection);
  },
};

function selectionOf({ retry = false, drop = false, id, reason, all = false }: Options): DeadLetterSelection {
  const given = [id, reason, all || undefined].filter((value) => value !== undefined).length;
  if (retry && drop) throw new ConfigError(["--retry and --drop are both given: keep one"]);
  if (given > 1) throw new ConfigError(["--id, --reason and --all are for different dead letters: keep one"]);
  if (given === 0 && (retry || drop)) {
    throw new ConfigError([`--${retry ? "retry" : "drop"} of which dead letters: say --id ID, --reason TEXT or --all`]);
  }
  if (id === "" || reason === "") throw new ConfigError(["--id and --reason must not be empty: --all means all"]);
  if (id !== undefined) return { messageId: id };
  return reason === undefined ? { all: true } : { reason };
}

/** As they come: there may be more than fit in memory. So a failure cuts the JSON off, which the exit code says. */
async function list(
  { screen, signal, json, printText }: Context,
  broker: Broker,
  queue: string,
  selection: DeadLetterSelection,
): Promise<void> {
  let count = 0;
  if (json) printText(`{"queue":${JSON.stringify(queue)},"dead":[`);
  for await (const letter of listDeadLetters(broker, queue, selection, { signal })) {
    if (count++ === 0) screen.line(line(["message id", "attempts", "published", "died", "error class", "reason"]));
    screen.line(line(cells(letter)));
    if (json) printText(`${count === 1 ? "" : ","}${JSON.stringify(shown(letter))}`);
  }
  if (json) printText("]}");
  screen.line(counted(count, "dead letter"));
}

function shown({ messageId, attempt, publishedAt, death }: KeptMessage) {
  return {
    messageId,
    attempts: attempt,
    publishedAt: publishedAt ?? null,
    diedAt: death?.at || null,
    errorClass: death?.errorClass ?? null,
    reason: death?.reason ?? null,
  };
}

function cells({ messageId, attempt, publishedAt, death }: KeptMessage): readonly string[] {
  const cells = [
    messageId,
    String(attempt),
    second(publishedAt),
    second(death?.at),
    death?.errorClass ?? "",
    death?.reason ?? "",
  ];
  // Other programs may have written them: a terminal must not take them for commands.
  // deno-lint-ignore no-control-regex -- control characters are what it looks for
  return cells.map((cell) => cell.replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd") || "-");
}

/** `2026-05-23T10:00:00.123Z` without what is behind the second. */
function second(at = ""): string {
  return at.replace(/\.\d+Z$/, "Z");
}

function line(cells: readonly string[]): string {
  return `  ${cells.map((cell, i) => cell.padEnd(WIDTHS[i] ?? 0)).join("  ").trimEnd()}`;
}

/** Of a UUID, and of times without fractions. */
const WIDTHS = [36, 8, 20, 20, 11];
