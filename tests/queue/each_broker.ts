import { type Broker, type KeptMessage, PostgresBroker, RabbitmqBroker } from "@pixl/core/queue";
import { onEachEngine } from "../support/databases.ts";
import { testWith } from "../support/programs.ts";
import { sharedRabbitmq, useSharedRabbitmq } from "../support/rabbitmq.ts";
import { queueName } from "./broker_conformance.ts";

/** A broker that the tests of a file run on. */
export interface EachBroker {
  /** Registers a test with a broker of its own and a queue of its own, which is declared. */
  readonly test: (name: string, run: (broker: Broker, queue: string) => Promise<void>) => void;
}

/** Registers a file's tests on RabbitMQ, on PostgreSQL and on the embedded database. */
export function onEachBroker(register: (each: EachBroker) => void): void {
  useSharedRabbitmq();
  register({
    test: (name, run) =>
      testWith("rabbitmq", `RabbitMQ: ${name}`, async () => {
        await using broker = await RabbitmqBroker.open(await sharedRabbitmq());
        await declared(broker, run);
      }),
  });
  onEachEngine((engine) =>
    register({
      test: (name, run) =>
        engine.test(`${engine.name}: ${name}`, async () => {
          await using broker = new PostgresBroker((await engine.database()).sql);
          await declared(broker, run);
        }),
    })
  );
}

async function declared(broker: Broker, run: (broker: Broker, queue: string) => Promise<void>): Promise<void> {
  const queue = queueName();
  await broker.declare(queue);
  await run(broker, queue);
}

/** What waits on a queue; it stays there. */
export async function waiting(broker: Broker, queue: string): Promise<KeptMessage[]> {
  const found: KeptMessage[] = [];
  await broker.walk(queue, "waiting", (batch) => {
    found.push(...batch);
    return Promise.resolve(batch.map(() => "keep"));
  });
  return found;
}

/** The ids of what waits on a queue, sorted. */
export async function idsOf(broker: Broker, queue: string): Promise<string[]> {
  return (await waiting(broker, queue)).map(({ messageId }) => messageId).sort();
}

/** A folder that is removed at the end of its scope. */
export async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "pixl-queue-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}
