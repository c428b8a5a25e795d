import { Command, CommanderError } from "commander";
import { type ErrorKind, PixlError } from "../errors.ts";
import { VERSION } from "../version.ts";
import { type Access, denoFlags } from "./access.ts";
import type { AnyCommand, Context } from "./command.ts";
import { COMMANDS } from "./commands/mod.ts";
import { readConfig } from "./config.ts";
import { EXIT_CODES, EXIT_INTERRUPTED, EXIT_NO_READER } from "./errors.ts";
import { Interrupted, interruption } from "./interruption.ts";
import { configureLogs } from "./logs.ts";
import { Screen, stderrTerminal } from "./screen.ts";
import { openSettings, type ReadSetting } from "./settings.ts";

const HELP = `
Exit codes: 0 done, 1 fault of the program, 2 usage or configuration, 3 bad input data, 4 a service out of reach (try again),
5 refused (credentials, certificate, permission), 6 some items failed, 130 interrupted,
141 nobody reads the output any more.
Settings come from the environment and from .env in the working folder; .env.sample explains each.`;

/** Called with the command that a command line names. */
type OnCommand = (command: AnyCommand, args: readonly unknown[], options: Record<string, unknown>) => Promise<void>;

/**
 * Runs one command of `pixl`.
 *
 * @param argv The arguments, without the program's name.
 * @returns The exit code.
 */
export async function main(argv: readonly string[]): Promise<number> {
  using interrupted = interruption();
  const screen = new Screen(stderrTerminal(interrupted.noReader));
  const { signal } = interrupted;
  try {
    await parse(argv, (command, args, options) => run(command, args, options, screen, signal));
    return 0;
  } catch (error) {
    return report(error, screen);
  }
}

async function run(
  command: AnyCommand,
  args: readonly unknown[],
  options: Record<string, unknown>,
  screen: Screen,
  signal: AbortSignal,
): Promise<void> {
  const read = openSettings(".env");
  await configureLogs(read("PIXL_LOG_LEVEL")?.trim(), screen);
  const config = readConfig(read, command.needs(args, options));
  const context: Context = { config, read, screen, signal, json: options.json === true, print: printJson, printText };
  await command.run(context, args, options);
}

async function parse(argv: readonly string[], onCommand: OnCommand, quiet = false): Promise<void> {
  const program = new Command("pixl")
    .description("PIXL core: studies out of the hospital, slowly, de-identified, whole")
    .version(VERSION)
    .addHelpText("after", HELP)
    .showHelpAfterError("Run 'pixl --help' for the commands");
  // Inherited by the commands below, so it comes first.
  program.exitOverride();
  if (quiet) program.configureOutput({ writeOut: () => {}, writeErr: () => {} });
  for (const command of COMMANDS) {
    const defined = command.define(program);
    defined
      .showHelpAfterError(`Run 'pixl ${defined.name()} --help' for its arguments and options`)
      .option("--json", "print one JSON document on standard output")
      .action(async (...given: unknown[]) => {
        const self = given.pop() as Command;
        given.pop();
        await onCommand(command, given, self.opts());
      });
  }
  program.command("permissions")
    .description("print the flags of 'deno run' that a command line of pixl needs, one a line")
    .argument("<words...>", "the command line, behind --")
    .action(async (words: string[]) => printText((await permissionsOf(words, openSettings(".env"))).join("\n")));
  await program.parseAsync([...argv], { from: "user" });
}

/**
 * What a command line of `pixl` needs of Deno.
 *
 * @param words The command line, without the program's name.
 * @param read Reads one setting.
 * @returns Flags of `deno run`, one each.
 * @throws {ConfigError} If settings are missing or wrong.
 */
export async function permissionsOf(words: readonly string[], read: ReadSetting): Promise<string[]> {
  let access: Access = {};
  try {
    await parse(words, async (command, args, options) => {
      const config = readConfig(read, command.needs(args, options));
      access = await command.access(config, args, options, read);
    }, true);
  } catch (error) {
    // Help and usage errors are shown by the command line itself, which needs nothing for it.
    if (!(error instanceof CommanderError)) throw error;
  }
  return denoFlags(access);
}

function printJson(document: unknown): void {
  printText(JSON.stringify(document));
}

function printText(text: string): void {
  let bytes = new TextEncoder().encode(`${text}\n`);
  while (bytes.length > 0) bytes = bytes.subarray(Deno.stdout.writeSync(bytes));
}

/** Says in one line what went wrong. @returns The exit code. */
function report(error: unknown, screen: Screen): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_CODES.configuration;
  if (error instanceof Deno.errors.BrokenPipe) return EXIT_NO_READER;
  if (error instanceof Interrupted) {
    screen.line(`pixl: stopped by ${error.by}`);
    return error.by === "SIGPIPE" ? EXIT_NO_READER : EXIT_INTERRUPTED;
  }
  if (error instanceof PixlError) {
    screen.line(`pixl: ${error.message}`);
    return EXIT_CODES[error.kind];
  }
  if (error instanceof Deno.errors.NotCapable) {
    // Deno's text names what was touched, never its content.
    screen.line(`pixl: Not permitted: ${error.message}; 'pixl permissions' prints the flags of a command line`);
    return EXIT_CODES.refused;
  }
  const disk = operatingSystemProblem(error);
  if (disk !== undefined) {
    screen.line(`pixl: ${disk.text}`);
    return EXIT_CODES[disk.kind];
  }
  screen.line(`pixl: A fault of the program, please report it with the lines below\n${faultOf(error)}`);
  return 1;
}

/** Errors of the operating system name a file and what is wrong with it, never what is in it. */
function operatingSystemProblem(error: unknown): { readonly text: string; readonly kind: ErrorKind } | undefined {
  if (!(error instanceof Error) || !("code" in error) || !/^E[A-Z0-9]+$/.test(String(error.code))) return undefined;
  const refused = ["EACCES", "EPERM", "EROFS", "ENOTDIR", "EISDIR", "EEXIST", "ENOENT"].includes(String(error.code));
  return { text: `${error.message}: mend the file or folder`, kind: refused ? "refused" : "unavailable" };
}

/** An unexpected error's text may quote data, so only its class and places are shown. */
function faultOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const places = (error.stack ?? "").split("\n").filter((line) => /^ {4}at /.test(line));
  return [error.name, ...places].join("\n");
}
