import type { StudyHistory } from "../../database/mod.ts";
import { configAccess, databaseAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { StudyUnknownError } from "../errors.ts";
import { openLedger } from "../open.ts";
import type { Screen } from "../screen.ts";

/** `pixl history STUDY`: what became of a study, and what of it left. */
export const historyCommand: PixlCommand<readonly [study: string]> = {
  define: (program) =>
    program.command("history")
      .description("show what became of a study: every change of state, every file that left")
      .argument("<study>", "its accession number or its pseudonym"),
  needs: () => ({ database: true }),
  access: (config) => joinAccess(configAccess(config), databaseAccess(config)),
  async run({ config, screen, signal, json, print }, [study]) {
    await using open = await openLedger(config, signal);
    const studies = await open.ledger.history(study, { signal });
    if (studies.length === 0) throw new StudyUnknownError();
    for (const history of studies) show(history, screen);
    if (json) print({ studies });
  },
};

function show(study: StudyHistory, screen: Screen): void {
  const reason = study.lastError === undefined ? "" : `: ${study.lastError}`;
  const attempts = study.attempts === 1 ? "1 attempt" : `${study.attempts} attempts`;
  screen.line(`${study.projectSlug}, study of ${study.study_date}: images ${study.state} after ${attempts}${reason}`);
  if (study.pseudo_study_uid !== undefined) screen.line(`  pseudonym ${study.pseudo_study_uid}`);
  for (const { extractTime, procedure_occurrence_id, state, lastError } of study.reports) {
    const why = lastError === undefined ? "" : `: ${lastError}`;
    screen.line(`  report of extract ${extractTime}, procedure ${procedure_occurrence_id}: ${state}${why}`);
  }
  const lines: [at: string, what: string, detail: string][] = study.events.map(
    ({ at, what, detail = "" }) => [at, what, detail],
  );
  for (const { transferredAt, destination, path, bytes, verifiedBy } of study.transfers) {
    lines.push([transferredAt, "sent", `${bytes} bytes to ${destination} as ${path}, verified by ${verifiedBy}`]);
  }
  screen.table(lines.toSorted(([a], [b]) => a < b ? -1 : Number(a > b)));
}
