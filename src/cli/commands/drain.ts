import { dirname } from "node:path";
import { drain } from "../../queue/mod.ts";
import { brokerAccess, configAccess, databaseAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { openBroker, openLedger } from "../open.ts";
import { oneQueue } from "../queue_names.ts";
import { counted } from "../units.ts";

/** `pixl drain QUEUE FILE`: moves what waits on a queue to a file. */
export const drainCommand: PixlCommand<readonly [queue: string, file: string]> = {
  define: (program) =>
    program.command("drain")
      .description("move every message that waits on a queue to a file; 'restore' brings them back")
      .argument("<queue>", "the queue's name")
      .argument("<file>", "the file to be made; if it was cut off, the same again goes on"),
  needs: () => ({ database: true, broker: true }),
  access: (config, [, file]) =>
    joinAccess(configAccess(config), databaseAccess(config), brokerAccess(config), {
      // The whole folder, to force the new name to the disk.
      read: [dirname(file)],
      write: [file, `${file}.part`],
    }),
  async run({ config, screen, signal, json, print }, [name, file]) {
    const { queue } = oneQueue(name);
    await using open = await openLedger(config, signal);
    await using broker = await openBroker(config, open.database, signal);
    await broker.declare(queue, { signal });
    const { ready, delayed, consumers } = await broker.depth(queue, { signal });
    if (consumers > 0) {
      screen.line(`${consumers} consumers take from ${queue} meanwhile: 'pixl rate ${name} 0' pauses them`);
    }
    using phase = screen.phase("drain", ready + delayed, "messages");
    let begun = false;
    const onDrained = (count: number) => {
      begun = true;
      phase.advance(count);
    };
    const drained = await drain(broker, queue, file, { signal, onDrained }).catch((error: unknown) => {
      if (begun) screen.line(`  what was drained is in '${file}.part': the same command goes on with it`);
      throw error;
    });
    phase.done(`${counted(drained, "message")} of ${queue} moved to '${file}'`);
    if (drained > 0) screen.line(`  it holds identifiers of patients; 'pixl restore ${name} ${file}' brings them back`);
    const { inHand = 0 } = await broker.depth(queue, { signal });
    if (inHand > 0) {
      screen.line(`  ${counted(inHand, "message")} of ${queue} in hand, or left by a process that died: not taken out`);
    }
    if (json) print({ queue, file, drained });
  },
};
