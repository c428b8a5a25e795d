import { pendingMigrations } from "../../database/mod.ts";
import { PixlError } from "../../errors.ts";
import { type Access, brokerAccess, configAccess, databaseAccess, destinationAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { type Config, type Needs, readConfig } from "../config.ts";
import { ConfigError } from "../errors.ts";
import { handlerUrls, hostAndPort, tryHandler } from "../handlers.ts";
import { openConfiguredDatabase, openRabbitmq, openUpload } from "../open.ts";

type Options = { readonly handler?: readonly string[] };

/** Something to try, with the settings that it needs: where others are missing it is tried all the same. */
interface Check {
  readonly name: string;
  readonly needs: Needs;
  access(config: Config): Access | Promise<Access>;
  /** @returns What was found. @throws {PixlError} Saying what to mend. */
  run(config: Config, signal: AbortSignal): Promise<string>;
}

const CHECKS: readonly Check[] = [
  {
    name: "database",
    needs: { database: true },
    access: databaseAccess,
    async run(config, signal) {
      await using database = await openConfiguredDatabase(config, signal);
      const pending = await pendingMigrations(database, { signal });
      if (pending.length > 0) {
        throw new ConfigError([`The database lacks ${pending.length} migrations: run 'pixl migrate'`]);
      }
      return database.embedded
        ? "embedded, up to date; for trying out: it is not safe against a power cut"
        : "up to date";
    },
  },
  {
    name: "broker",
    needs: { broker: true },
    access: brokerAccess,
    async run({ broker }, signal) {
      if (broker.kind === "database") return "the queue table of the database";
      await using _broker = await openRabbitmq(broker, signal);
      return `RabbitMQ at ${broker.host}:${broker.port}`;
    },
  },
  {
    name: "destination",
    needs: { destination: true },
    access: (config) => destinationAccess(config, 1),
    async run(config, signal) {
      await using destination = await openUpload(config, { connections: 1 }, undefined, signal);
      return config.destination.kind === "directory"
        ? `${destination.name}, is there`
        : `${destination.name}, certificate verified, login accepted`;
    },
  },
  {
    name: "export folder",
    needs: {},
    access: ({ exportDir }) => ({ read: [exportDir], write: [exportDir] }),
    async run({ exportDir }) {
      const probe = await Deno.makeTempFile({ dir: exportDir, prefix: ".pixl-doctor-" }).catch((cause: unknown) => {
        throw new ConfigError([
          `The export folder '${exportDir}' cannot be written: create it and give this user the right`,
        ], { cause });
      });
      await Deno.remove(probe);
      return `${exportDir}, can be written`;
    },
  },
  {
    name: "image folder",
    needs: {},
    access: ({ imageDir }) => ({ read: [imageDir] }),
    async run({ imageDir }) {
      try {
        for await (const _entry of Deno.readDir(imageDir)) break;
      } catch (cause) {
        throw new ConfigError(
          [`The image folder '${imageDir}' cannot be read: create it and give this user the right`],
          {
            cause,
          },
        );
      }
      return `${imageDir}, can be read`;
    },
  },
];

/** What only shows where the settings of several services are read at once, as commands do. */
const TOGETHER: Check = {
  name: "all settings",
  needs: { database: true, broker: true, destination: true },
  access: () => ({}),
  run: () => Promise.resolve("fit together"),
};

/** `pixl doctor`: tries every service and folder, and says what to mend. */
export const doctorCommand: PixlCommand<readonly [], Options> = {
  define: (program) =>
    program.command("doctor")
      .description(
        "try the database, the broker, the destination of uploads, the folders, and handlers if they are given",
      )
      .option("--handler <[queue=]url...>", "handlers of 'pixl consume' that should answer; no study is sent"),
  needs: () => ({}),
  async access(_config, _args, { handler }, read) {
    const parts = await Promise.all([...CHECKS, ...handlerChecks(handler)].map(async (check) => {
      try {
        const config = readConfig(read, check.needs);
        return joinAccess(configAccess(config), await check.access(config));
      } catch (error) {
        // The check will say so.
        if (error instanceof ConfigError) return {};
        throw error;
      }
    }));
    return joinAccess(...parts);
  },
  async run({ read, screen, signal, json, print }, _, { handler }) {
    const results: { check: string; ok: boolean; detail: string }[] = [];
    let failure: PixlError | undefined;
    let isConfigured = true;
    for (const { name, needs, run } of [...CHECKS, ...handlerChecks(handler), TOGETHER]) {
      if (name === TOGETHER.name && !isConfigured) continue; // it would only say so again
      try {
        const config = readConfig(read, needs);
        results.push({ check: name, ok: true, detail: await run(config, signal) });
      } catch (error) {
        if (!(error instanceof PixlError)) throw error;
        failure ??= error;
        isConfigured &&= !(error instanceof ConfigError);
        results.push({ check: name, ok: false, detail: error.message });
      }
    }
    screen.table(results.map(({ check, ok, detail }) => [ok ? "✓" : "✗", check, detail]));
    if (json) print({ checks: results });
    if (failure !== undefined) throw failure;
  },
};

function handlerChecks(handlers: readonly string[] = []): Check[] {
  return handlers.map((handler) => {
    const [queue = "all queues"] = /^[A-Za-z0-9._-]+(?==)/.exec(handler) ?? [];
    const url = () => [...handlerUrls([queue], [handler]).values()];
    return {
      name: `handler of ${queue}`,
      needs: {},
      access: () => ({ net: url().map(hostAndPort) }),
      async run(_config, signal) {
        const [status] = await Promise.all(url().map((each) => tryHandler(each, signal)));
        return `answers (status ${status})`;
      },
    };
  });
}
