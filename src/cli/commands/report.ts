import type { Extract, FailureCount, SentCount, StateCount } from "../../database/mod.ts";
import { ProjectUnknownError } from "../../pipeline/errors.ts";
import { configAccess, databaseAccess, joinAccess } from "../access.ts";
import type { PixlCommand } from "../command.ts";
import { ConfigError } from "../errors.ts";
import { openLedger } from "../open.ts";

type Options = { readonly csv?: boolean };

interface Report {
  readonly extracts: readonly Extract[];
  readonly states: readonly StateCount[];
  readonly failures: readonly FailureCount[];
  readonly sent: readonly SentCount[];
}

/** `pixl report PROJECT`: counts by state, failures by reason, what left and when. Without identifiers. */
export const reportCommand: PixlCommand<readonly [project: string], Options> = {
  define: (program) =>
    program.command("report")
      .description("count a project's studies by state and its failures by reason; show what left and when")
      .argument("<project>", "the project's slug, as 'pixl status' shows it")
      .option("--csv", "print a table of comma-separated values on standard output"),
  needs: () => ({ database: true }),
  access: (config) => joinAccess(configAccess(config), databaseAccess(config)),
  async run({ config, screen, signal, json, print, printText }, [project], { csv = false }) {
    if (csv && json) throw new ConfigError(["--csv and --json are both given: keep one"]);
    await using open = await openLedger(config, signal);
    const { ledger } = open;
    const states = await ledger.summary(project, { signal });
    if (states.length === 0) throw new ProjectUnknownError(project);
    const report: Report = {
      extracts: await ledger.extracts(project, { signal }),
      states,
      failures: await ledger.failures(project, { signal }),
      sent: await ledger.sent(project, { signal }),
    };
    if (csv) return printText(csvOf(report));
    screen.table([
      ["extract of", "studies", "left out", "layout"],
      ...report.extracts.map(({ extractTime, studies, leftOut, layout = "" }) => [
        extractTime,
        studies,
        Object.values(leftOut).reduce((sum, count) => sum + count, 0),
        layout,
      ]),
    ]);
    screen.table([["asked for", "state", "studies"], ...states.map(({ kind, state, count }) => [kind, state, count])]);
    if (report.failures.length > 0) {
      screen.table([["failed", "studies", "reason"], ...report.failures.map((f) => [f.kind, f.count, f.reason])]);
    }
    if (report.sent.length > 0) {
      screen.table([
        ["sent on", "to", "files", "bytes"],
        ...report.sent.map(({ day, destination, files, bytes }) => [day, destination, files, bytes]),
      ]);
    }
    if (json) print({ project, ...report });
  },
};

/** One line a fact: `extract,LAYOUT,TIME,40,` · `left out,duplicate,TIME,2,` · `state,image,done,40,` · `failure,image,status 404,2,` · `sent,HOST:PORT,DAY,44,BYTES`. */
function csvOf({ extracts, states, failures, sent }: Report): string {
  const rows: (readonly (string | number)[])[] = [
    ["fact", "of", "which", "count", "bytes"],
    ...extracts.flatMap(({ layout = "", extractTime, studies, leftOut }) => [
      ["extract", layout, extractTime, studies, ""],
      ...Object.entries(leftOut).filter(([, count]) => count > 0)
        .map(([reason, count]) => ["left out", reason, extractTime, count, ""]),
    ]),
    ...states.map(({ kind, state, count }) => ["state", kind, state, count, ""]),
    ...failures.map(({ kind, reason, count }) => ["failure", kind, reason, count, ""]),
    ...sent.map(({ destination, day, files, bytes }) => ["sent", destination, day, files, bytes]),
  ];
  return rows.map((row) => row.map(csvCell).join(",")).join("\r\n");
}

/** RFC 4180; a text that a spreadsheet would take for a formula is kept from that. */
function csvCell(value: string | number): string {
  const text = typeof value === "string" ? value.replace(/^[=+\-@\t\r]/, "'$&") : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
