import { join } from "node:path";
import { permissionsOf } from "../../src/cli/main.ts";
import { openSettings } from "../../src/cli/settings.ts";
import { fromFileUrl } from "./paths.ts";

const MOD = fromFileUrl(new URL("../../mod.ts", import.meta.url));
const LOGS = fromFileUrl(new URL("../../.out/logs/", import.meta.url));

/** What a run of `pixl` left behind. */
export interface PixlRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How `pixl` is run. */
export interface PixlOptions {
  /** The whole environment, beside PATH, HOME and DENO_DIR. */
  readonly env: Readonly<Record<string, string>>;
  /** Where it runs; relative paths and `.env` are looked up there. */
  readonly cwd: string;
}

/** A running `pixl`. */
export interface PixlProcess {
  readonly finished: Promise<PixlRun>;
  kill(signal: Deno.Signal): void;
}

/**
 * Runs `pixl` in a process of its own, with exactly the permissions that `pixl permissions` prints for the command line. What it writes is kept for
 * the search for identifiers at the end of the test run.
 */
export async function pixl(args: readonly string[], options: PixlOptions): Promise<PixlRun> {
  return await (await startPixl(args, options)).finished;
}

/** Runs `pixl --json` and gives the document; fails unless it exits with 0. */
export async function pixlJson<T>(args: readonly string[], options: PixlOptions): Promise<T> {
  const { code, stdout, stderr } = await pixl([...args, "--json"], options);
  if (code !== 0) throw new Error(`pixl ${args.join(" ")} exited with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

/** Starts `pixl` as {@linkcode pixl} does. */
export async function startPixl(args: readonly string[], options: PixlOptions): Promise<PixlProcess> {
  // In this process, as a start takes longer than most commands; by itself it says what is wrong. Folders must be absolute.
  let flags = await permissionsHere(args, options).catch(() => undefined);
  if (flags === undefined) {
    const asked = await finish(args, spawn(["run", "--quiet", "-A", MOD, "permissions", "--", ...args], options));
    if (asked.code !== 0) return { finished: Promise.resolve(asked), kill: () => {} };
    flags = asked.stdout.trim().split("\n");
  }
  const child = spawn(["run", "--quiet", ...flags, MOD, ...args], options);
  return {
    finished: finish(args, child),
    kill(signal) {
      try {
        child.kill(signal);
      } catch {
        // It has ended by itself.
      }
    },
  };
}

async function permissionsHere(args: readonly string[], { env, cwd }: PixlOptions): Promise<string[]> {
  return await permissionsOf(args, openSettings(join(cwd, ".env"), (name) => env[name]));
}

function spawn(args: readonly string[], { env, cwd }: PixlOptions): Deno.ChildProcess {
  const inherited = ["PATH", "HOME", "DENO_DIR"].flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  });
  return new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd,
    clearEnv: true,
    env: { ...Object.fromEntries(inherited), ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function finish(args: readonly string[], child: Deno.ChildProcess): Promise<PixlRun> {
  const { code, stdout, stderr } = await child.output();
  const text = new TextDecoder();
  const run = { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
  await keepLog(`pixl ${args[0]}`, run);
  return run;
}

/** Keeps what a process wrote for the search at the end. */
export async function keepLog(what: string, run: PixlRun): Promise<void> {
  await Deno.mkdir(LOGS, { recursive: true });
  const entry = `== ${what}: ${run.code}\n${run.stdout}${run.stderr}\n`;
  await Deno.writeTextFile(`${LOGS}/pixl.log`, entry, { append: true });
}
