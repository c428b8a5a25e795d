import { migrate, pendingMigrations } from "../../database/mod.ts";
import { configAccess, databaseAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { openConfiguredDatabase } from "../open.ts";

type Options = { readonly dryRun?: boolean };

/** `pixl migrate`: brings the database's tables up to date. */
export const migrateCommand: PixlCommand<readonly [], Options> = {
  define: (program) =>
    program.command("migrate")
      .description("create the database's tables, or bring them up to date")
      .option("--dry-run", "print the SQL of the steps that are still to be applied, and change nothing"),
  needs: () => ({ database: true }),
  access: (config) => joinAccess(configAccess(config), databaseAccess(config)),
  async run({ config, screen, signal, json, print, printText }, _, { dryRun = false }) {
    await using database = await openConfiguredDatabase(config, signal);
    if (dryRun) {
      const pending = await pendingMigrations(database, { signal });
      if (json) return print({ pending });
      if (pending.length === 0) screen.line("Nothing is to be applied");
      return pending.forEach(({ name, sql }) => printText(`-- ${name}\n${sql}`));
    }
    const result = await migrate(database, { signal });
    screen.line(result.applied.length === 0 ? `Up to date: ${result.current}` : `Applied ${result.applied.join(", ")}`);
    if (json) print(result);
  },
};
