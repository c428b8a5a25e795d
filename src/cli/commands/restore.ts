import { dirname } from "node:path";
import { restore } from "../../queue/mod.ts";
import { brokerAccess, configAccess, databaseAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { openBroker, openLedger } from "../open.ts";
import { oneQueue } from "../queue_names.ts";
import { counted } from "../units.ts";

/** `pixl restore QUEUE FILE`: puts the messages of a drained queue back. */
export const restoreCommand: PixlCommand<readonly [queue: string, file: string]> = {
  define: (program) =>
    program.command("restore")
      .description("put the messages of a file that 'drain' wrote on a queue; the file is then renamed FILE.restored")
      .argument("<queue>", "the queue's name")
      .argument("<file>", "the file"),
  needs: () => ({ database: true, broker: true }),
  access: (config, [, file]) =>
    joinAccess(configAccess(config), databaseAccess(config), brokerAccess(config), {
      // The whole folder, to force the new name to the disk.
      read: [dirname(file)],
      write: [file, `${file}.restored`],
    }),
  async run({ config, screen, signal, json, print }, [name, file]) {
    const { queue } = oneQueue(name);
    await using open = await openLedger(config, signal);
    await using broker = await openBroker(config, open.database, signal);
    await broker.declare(queue, { signal });
    using phase = screen.phase("restore", 0, "messages");
    const restored = await restore(broker, queue, file, { signal, onRestored: () => phase.advance() });
    phase.done(
      `${counted(restored, "message is", "messages are")} on ${queue} again; the file is now '${file}.restored'`,
    );
    if (json) print({ queue, file, restored });
  },
};
