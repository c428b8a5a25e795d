import { pendingMigrations } from "../../database/mod.ts";
import { PixlError } from "../../errors.ts";
import { brokerAccess, configAccess, databaseAccess, ftpsAccess, joinAccess } from "../access.ts";
import { addressesOf } from "../addresses.ts";
import type { Context, PixlCommand } from "../command.ts";
import { ConfigError } from "../errors.ts";
import { openConfiguredDatabase, openDestination, openRabbitmq } from "../open.ts";

interface Check {
  readonly name: string;
  run(context: Context): Promise<string>;
}

const CHECKS: readonly Check[] = [
  {
    name: "database",
    async run({ config, signal }) {
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
    async run({ config, signal }) {
      if (config.broker.kind === "database") return "the queue table of the database";
      await using _broker = await openRabbitmq(config.broker, signal);
      return `RabbitMQ at ${config.broker.host}:${config.broker.port}`;
    },
  },
  {
    name: "FTPS server",
    async run({ config, signal }) {
      await using destination = await openDestination(config, signal);
      return `${destination.name}, certificate verified, login accepted`;
    },
  },
  {
    name: "export folder",
    async run({ config }) {
      const probe = await Deno.makeTempFile({ dir: config.exportDir, prefix: ".pixl-doctor-" }).catch(
        (cause: unknown) => {
          throw new ConfigError([
            `The export folder '${config.exportDir}' cannot be written: create it and give this user the right`,
          ], { cause });
        },
      );
      await Deno.remove(probe);
      return `${config.exportDir}, can be written`;
    },
  },
];

/** `pixl doctor`: tries every service and folder, and says what to mend. */
export const doctorCommand: PixlCommand<readonly []> = {
  define: (program) =>
    program.command("doctor").description("try the database, the broker, the FTPS server and the export folder"),
  needs: () => ({ database: true, broker: true, ftps: true }),
  access: async (config) =>
    joinAccess(
      configAccess(config),
      databaseAccess(config),
      brokerAccess(config),
      ftpsAccess(config, await addressesOf(config.ftps.host)),
      { read: [config.exportDir], write: [config.exportDir] },
    ),
  async run(context) {
    const results: { check: string; ok: boolean; detail: string }[] = [];
    let failure: PixlError | undefined;
    for (const { name, run } of CHECKS) {
      try {
        results.push({ check: name, ok: true, detail: await run(context) });
      } catch (error) {
        if (!(error instanceof PixlError)) throw error;
        failure ??= error;
        results.push({ check: name, ok: false, detail: error.message });
      }
    }
    context.screen.table(results.map(({ check, ok, detail }) => [ok ? "✓" : "✗", check, detail]));
    if (context.json) context.print({ checks: results });
    if (failure !== undefined) throw failure;
  },
};
