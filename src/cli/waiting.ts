import type { Broker } from "../queue/mod.ts";
import type { QueueKinds } from "./queue_names.ts";
import type { Screen } from "./screen.ts";
import { counted } from "./units.ts";

/** Says so where queues still hold messages, before studies that wait are published again: those would then be there twice. */
export async function warnOfWaiting(
  broker: Broker,
  kinds: QueueKinds,
  screen: Screen,
  signal: AbortSignal,
): Promise<void> {
  for (const queue of kinds.keys()) {
    await broker.declare(queue, { signal });
    const { ready, delayed } = await broker.depth(queue, { signal });
    if (ready + delayed === 0) continue;
    screen.line(
      `${queue} still holds ${
        counted(ready + delayed, "message")
      }: a study of them that is published again is on it twice, which ` +
        `costs a token and has its effect once; where no queue was lost, 'pixl retry' without an option is enough`,
    );
  }
}
