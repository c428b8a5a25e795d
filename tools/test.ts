/**
 * Runs all tests: brings the services they need, runs `deno test` with the arguments given here, its files sharing a private RabbitMQ and PostgreSQL, looks through every log for identifiers that must not be there, and ends with the line `N passed, N failed, N skipped`.
 */
import {
  isInstalled,
  packagesOf,
  PROGRAM_NAMES,
  type ProgramName,
  SKIPPED,
  unpackedOf,
} from "../tests/support/programs.ts";
import { openDatabase } from "../src/database/mod.ts";
import { sharedServices } from "./test_services.ts";
import { print, say as sayLine } from "./say.ts";

const OUT = ".out";
const CI = Deno.env.get("CI") === "true";

/** What stands for patients and passwords in tests is made of these words; none may appear in a log. */
const SEEDS = /MRNSEED|ACCSEED|PWSEED|987654321|AA1234560[15]/;

const say = (text: string) => sayLine(`[test] ${text}`);

async function main(): Promise<number> {
  await Deno.remove(OUT, { recursive: true }).catch(() => {});
  await Deno.mkdir(OUT);
  await install(PROGRAM_NAMES.filter((name) => !isInstalled(name)));
  const started = performance.now();
  const parts = partsOf(Deno.args);
  const embedded = makeEmbedded();
  embedded.catch(() => {}); // each part hears of it, when its servers can be stopped
  const code = Math.max(...await Promise.all(parts.map((part) => runPart(part, embedded))));
  await Deno.remove(await embedded, { recursive: true });
  const { passed, failed, skipped, missing } = sum(await Promise.all(parts.map(({ junit }) => readJunit(junit))));
  const leaks = (await Promise.all(parts.map(({ logs }) => findSeeds(logs)))).flat();
  let failures = failed.length + leaks.length;
  // Once more at the end: the parts print a great deal between one another's lines.
  for (const text of failed) say(`FAILED: ${text}`);
  for (const leak of leaks) say(`FAILED: an identifier or a password is in ${leak}`);
  if (CI && missing > 0) {
    say(`FAILED: ${missing} tests were skipped for a missing service, which CI does not allow`);
    failures += missing;
  }
  if (code !== 0 && failures === 0) {
    say(`FAILED: deno test ended with ${code}`);
    failures += 1;
  }
  if (passed === 0) {
    say("FAILED: no test ran");
    failures += 1;
  }
  say(`took ${Math.round((performance.now() - started) / 1_000)} s`);
  print(`${passed} passed, ${failures} failed, ${skipped} skipped`);
  return failures === 0 ? 0 : 1;
}

/** What one `deno test` runs, with servers of its own. */
interface Part {
  readonly args: readonly string[];
  readonly junit: string;
  /** Folder of all its logs. */
  readonly logs: string;
}

/** Folders whose tests take about as long as all others together, in groups of this kind: most of it they wait. */
const GROUPS = [["tests/main_job", "tests/demo", "tests/pipeline"], [
  "tests/queue",
  "tests/rate_limiter",
  "tests/exports",
]];

/** The whole in parts that run side by side. */
function partsOf(args: readonly string[]): Part[] {
  const others = [`--ignore=${GROUPS.flat().join()}`];
  return (args.length > 0 ? [args] : [...GROUPS, others]).map((args, index) => {
    return { args, junit: `${OUT}/junit-${index + 1}.xml`, logs: `${OUT}/logs/${index + 1}` };
  });
}

/** The services of a part are stopped and have left their logs when it returns. */
async function runPart({ args, junit, logs }: Part, embedded: Promise<string>): Promise<number> {
  await Deno.mkdir(logs, { recursive: true });
  await using services = await sharedServices(logs, say);
  const env = { ...services.env, PIXL_TEST_EMBEDDED: await embedded };
  return await runDenoTest(args, junit, `${logs}/deno-test.log`, env);
}

/** An embedded database, to be copied by the tests that need a new one. @returns Its folder. */
async function makeEmbedded(): Promise<string> {
  const dir = await Deno.makeTempDir({ prefix: "pixl-embedded-" });
  const database = await openDatabase({ kind: "embedded", dir });
  await database[Symbol.asyncDispose]();
  return dir;
}

/** As root on Debian, installs what is missing; elsewhere says what to install. */
async function install(missing: readonly ProgramName[]): Promise<void> {
  if (missing.length === 0) return;
  const [packages, unpacked] = [packagesOf(missing), unpackedOf(missing)];
  const apt = await Deno.stat("/usr/bin/apt-get").then(() => true, () => false);
  if (Deno.uid() !== 0 || !apt) {
    say(
      `not installed: ${[...packages, ...unpacked].join(" ")}; tests that need them are skipped unless Docker has them`,
    );
    return;
  }
  say(`installing ${[...packages, ...unpacked].join(" ")} with apt-get`);
  using _guard = keepServicesFromStarting();
  await run("apt-get", "update", "-q");
  await run("apt-get", "install", "-y", "-q", "--no-install-recommends", ...packages);
  for (const name of unpacked) await unpack(name);
}

/** Copies a program out of a package that cannot be installed beside the others. */
async function unpack(name: string): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    // apt-get's own user must be able to write there.
    await Deno.chmod(dir, 0o777);
    await run(
      "sh",
      "-c",
      'cd "$1" && apt-get download -q "$2" && dpkg-deb -x ./*.deb . && install -D "usr/sbin/$2" /usr/local/sbin/',
      "sh",
      dir,
      name,
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function run(program: string, ...args: string[]): Promise<void> {
  const command = new Deno.Command(program, {
    args,
    env: { DEBIAN_FRONTEND: "noninteractive" },
    stdin: "null",
    stdout: "null",
  });
  if (!(await command.output()).success) say(`${program} ${args[0]} failed`);
}

/** Tests start servers of their own; those of the system must not start because their package was installed (Debian's policy-rc.d). */
function keepServicesFromStarting(): Disposable {
  const policy = "/usr/sbin/policy-rc.d";
  try {
    Deno.writeTextFileSync(policy, "#!/bin/sh\nexit 101\n", { createNew: true, mode: 0o755 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    return { [Symbol.dispose]: () => {} };
  }
  return { [Symbol.dispose]: () => Deno.removeSync(policy) };
}

async function runDenoTest(
  args: readonly string[],
  junit: string,
  logFile: string,
  env: Record<string, string>,
): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-q", "-P=test", "--doc", "--trace-leaks", `--junit-path=${junit}`, ...args],
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  using log = await Deno.open(logFile, { create: true, write: true, append: true });
  const copy = async (from: ReadableStream<Uint8Array>, to: { writeSync(bytes: Uint8Array): number }) => {
    const encoder = new TextEncoder();
    let begun = "";
    const write = (text: string) => {
      const bytes = encoder.encode(text);
      to.writeSync(bytes);
      log.writeSync(bytes);
    };
    // Whole lines, so that two at once can be read.
    for await (const text of from.pipeThrough(new TextDecoderStream())) {
      const end = text.lastIndexOf("\n") + 1;
      if (end > 0) write(begun + text.slice(0, end));
      begun = end > 0 ? text.slice(end) : begun + text;
    }
    write(begun);
  };
  const [status] = await Promise.all([child.status, copy(child.stdout, Deno.stdout), copy(child.stderr, Deno.stderr)]);
  return status.code;
}

interface Counts {
  readonly passed: number;
  /** Name, place and error of each. */
  readonly failed: readonly string[];
  readonly skipped: number;
  /** Skipped since a program is missing. */
  readonly missing: number;
}

async function readJunit(path: string): Promise<Counts> {
  const text = await Deno.readTextFile(path).catch(() => "");
  const failed: string[] = [];
  let [passed, skipped, missing] = [0, 0, 0];
  for (const [head, inside = ""] of text.matchAll(/<testcase\b[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g)) {
    const error = /<(?:failure|error)\b[^>]*>([^<]*)/.exec(inside);
    if (inside.includes("<skipped")) {
      skipped += 1;
      if (head.includes(SKIPPED)) missing += 1;
    } else if (error !== null) {
      const [, name, file] = /name="([^"]*)" classname="([^"]*)"/.exec(head) ?? [];
      failed.push(unescapeXml(`${file}: ${name}\n${error[1]}`));
    } else passed += 1;
  }
  return { passed, failed, skipped, missing };
}

function unescapeXml(xml: string): string {
  const characters: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return xml.replace(/&(\w+);/g, (entity, name) => characters[name] ?? entity);
}

function sum(all: readonly Counts[]): Counts {
  const total = (of: (counts: Counts) => number) => all.reduce((count, counts) => count + of(counts), 0);
  return {
    passed: total(({ passed }) => passed),
    failed: all.flatMap(({ failed }) => failed),
    skipped: total(({ skipped }) => skipped),
    missing: total(({ missing }) => missing),
  };
}

async function findSeeds(dir: string): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of Deno.readDir(dir)) {
    const file = `${dir}/${entry.name}`;
    const lines = (await Deno.readTextFile(file)).split("\n");
    const at = lines.findIndex((line) => SEEDS.test(line));
    if (at >= 0) found.push(`${file}:${at + 1}`);
  }
  return found;
}

if (import.meta.main) Deno.exit(await main());
