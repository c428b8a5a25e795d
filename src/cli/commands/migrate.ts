import { migrate } from "../../database/mod.ts";
import { configAccess, databaseAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { openConfiguredDatabase } from "../open.ts";

/** `pixl migrate`: brings the database's tables up to date. */
export const migrateCommand: PixlCommand<readonly []> = {
  define: (program) => program.command("migrate").description("create the database's tables, or bring them up to date"),
  needs: () => ({ database: true }),
  access: (config) => joinAccess(configAccess(config), databaseAccess(config)),
  async run({ config, screen, signal, json, print }) {
    await using database = await openConfiguredDatabase(config, signal);
    const result = await migrate(database, { signal });
    screen.line(result.applied.length === 0 ? `Up to date: ${result.current}` : `Applied ${result.applied.join(", ")}`);
    if (json) print(result);
  },
};
