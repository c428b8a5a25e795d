/** Run by drain_kill_test.ts: drains a queue to a file or restores it, says when it begins and how much is done, and shows the error that it ends with. */
import { openDatabase, type PostgresOptions } from "@pixl/core/database";
import { type Broker, drain, PostgresBroker, RabbitmqBroker, type RabbitmqOptions, restore } from "@pixl/core/queue";

/** Which broker. */
export type Where =
  | { readonly rabbitmq: RabbitmqOptions }
  | { readonly postgres: PostgresOptions };

/** Opens it. */
export async function openBroker(where: Where, stack: AsyncDisposableStack): Promise<Broker> {
  if ("rabbitmq" in where) return stack.use(await RabbitmqBroker.open(where.rabbitmq));
  return stack.use(new PostgresBroker(stack.use(await openDatabase(where.postgres)).sql, { leaseMs: 1_000 }));
}

if (import.meta.main) {
  const [task = "", where = "", queue = "", file = "", batch = ""] = Deno.args;
  const say = (text: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
  await using stack = new AsyncDisposableStack();
  const broker = await openBroker(JSON.parse(where), stack);
  say("begin");
  try {
    if (task === "restore") await restore(broker, queue, file, { onRestored: () => say("restored 1") });
    else await drain(broker, queue, file, { batch: Number(batch), onDrained: (count) => say(`drained ${count}`) });
  } catch (error) {
    say(error instanceof Error ? error.message : "failed");
    Deno.exitCode = 4;
  }
}
