import type { Command } from "commander";
import type { Access } from "./access.ts";
import type { Config, Needs } from "./config.ts";
import type { ReadSetting } from "./settings.ts";
import type { Screen } from "./screen.ts";

/** What a running command is given. */
export interface Context {
  readonly config: Config;
  /** Reads one setting, for the commands that look at more than they need. */
  readonly read: ReadSetting;
  readonly screen: Screen;
  /** Aborts at SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  /** Whether one JSON document is wanted on standard output. */
  readonly json: boolean;
  /** Prints that document. */
  print(document: unknown): void;
  /** Prints text for programs on standard output, with a line end. */
  printText(text: string): void;
}

/** A command of `pixl`: its words, what it needs and touches, and what it does. */
export interface PixlCommand<Args extends readonly unknown[], Options = Record<string, unknown>> {
  /** Adds the command with its arguments and options. */
  define(program: Command): Command;
  /** Parts of the configuration without which it cannot run. */
  needs(args: Args, options: Options): Needs;
  /** What it touches, for this configuration and these arguments. */
  access(config: Config, args: Args, options: Options, read: ReadSetting): Access | Promise<Access>;
  /** Does it. */
  run(context: Context, args: Args, options: Options): Promise<void>;
}

/** A command whose words are not known to the compiler: commander gives each what its `define` declared. */
export interface AnyCommand {
  define(program: Command): Command;
  needs(args: readonly unknown[], options: Record<string, unknown>): Needs;
  access(
    config: Config,
    args: readonly unknown[],
    options: Record<string, unknown>,
    read: ReadSetting,
  ): Access | Promise<Access>;
  run(context: Context, args: readonly unknown[], options: Record<string, unknown>): Promise<void>;
}
