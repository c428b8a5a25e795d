/** A program that some tests start: where it is, and the Debian packages that bring it. */
interface Program {
  /** For each of these, one of its places is there if the program is installed; a `*` stands for one name. */
  readonly paths: readonly (string | readonly string[])[];
  readonly packages: readonly string[];
  /** A package that Debian does not install beside another one of these: its program is copied out of it into /usr/local/sbin. */
  readonly unpacked?: string;
  /** Its private server must be started as root. */
  readonly root?: true;
  /** Where the address of one that runs already is given, by the test run or by hand. */
  readonly given?: string;
}

const PROGRAMS = {
  rabbitmq: {
    paths: ["/usr/lib/rabbitmq/bin/rabbitmq-server"],
    packages: ["rabbitmq-server"],
    given: "PIXL_TEST_RABBITMQ",
  },
  postgresql: {
    paths: ["/usr/lib/postgresql/*/bin/initdb"],
    packages: ["postgresql"],
    given: "PIXL_TEST_POSTGRES",
  },
  vsftpd: {
    paths: [["/usr/local/sbin/vsftpd", "/usr/sbin/vsftpd"]],
    packages: ["libwrap0"],
    unpacked: "vsftpd",
    root: true,
  },
  proftpd: {
    paths: ["/usr/sbin/proftpd", "/usr/lib/proftpd/mod_tls.so"],
    packages: ["proftpd-core", "proftpd-mod-crypto"],
    root: true,
  },
  lftp: { paths: ["/usr/bin/lftp"], packages: ["lftp"] },
  curl: { paths: ["/usr/bin/curl"], packages: ["curl"] },
  openssl: { paths: ["/usr/bin/openssl"], packages: ["openssl"] },
} as const satisfies Record<string, Program>;

/** A program that tests may need. */
export type ProgramName = keyof typeof PROGRAMS;

/** All of them. */
export const PROGRAM_NAMES = Object.keys(PROGRAMS) as ProgramName[];

/** Whether the program can be started here. */
export function isInstalled(name: ProgramName): boolean {
  return PROGRAMS[name].paths.every((places) => [places].flat().some((path) => findPath(path) !== undefined));
}

/** Where a program is. @throws If it is not installed, saying what to do. */
export function pathOf(name: ProgramName): string {
  const [places = []] = PROGRAMS[name].paths;
  const path = [places].flat().map(findPath).find((path) => path !== undefined);
  if (path === undefined) throw new Error(`${name} is not installed: ${remedyFor([name])}`);
  return path;
}

/** Whether tests can use it: it can be started here, or runs elsewhere with its address given. */
export function isAvailable(name: ProgramName): boolean {
  const program: Program = PROGRAMS[name];
  if (program.given !== undefined && Deno.env.get(program.given) !== undefined) return true;
  return isInstalled(name) && (!program.root || Deno.uid() === 0);
}

function remedyFor(names: readonly ProgramName[]): string {
  const asRoot = names.some((name) => (PROGRAMS[name] as Program).root) && Deno.uid() !== 0 ? "as root, " : "";
  return `${asRoot}apt-get install ${[...packagesOf(names), ...unpackedOf(names)].join(" ")}`;
}

/** Debian packages that bring the programs. */
export function packagesOf(names: readonly ProgramName[]): string[] {
  return names.flatMap((name) => [...PROGRAMS[name].packages]);
}

/** Debian packages whose program of the same name is copied out of them. */
export function unpackedOf(names: readonly ProgramName[]): string[] {
  return names.flatMap((name) => (PROGRAMS[name] as Program).unpacked ?? []);
}

/**
 * Registers a test that needs programs. Where one is missing the test is skipped and its name says what to install; in CI that counts as a failure.
 *
 * @param options `own` for a test that starts and ends its server itself, for which one that runs elsewhere does not do; `restarts` for one that starts
 * the server of its file again, whose process is then older or lives longer than the test.
 */
export function testWith(
  programs: ProgramName | readonly ProgramName[],
  name: string,
  run: (context: Deno.TestContext) => void | Promise<void>,
  { own = false, restarts = false }: { readonly own?: boolean; readonly restarts?: boolean } = {},
): void {
  const missing = [programs].flat().filter((program) => !(own ? isInstalled(program) : isAvailable(program)));
  const sanitize = restarts ? { sanitizeOps: false, sanitizeResources: false } : {};
  if (missing.length === 0) Deno.test({ name, ...sanitize, fn: run });
  else Deno.test({ name: `${name} ${SKIPPED} ${remedyFor(missing)})`, ignore: true, fn: run });
}

/** Marks the name of a test that was skipped for a missing program. */
export const SKIPPED = "(skipped:";

/** The path itself, with the `*` filled in; `undefined` if nothing is there. Of several, the one with the highest number. */
function findPath(path: string): string | undefined {
  const [folder = "", rest] = path.split("/*", 2);
  try {
    if (rest === undefined) return Deno.statSync(path) && path;
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort((a, b) => Number(b) - Number(a));
    return names.map((name) => findPath(`${folder}/${name}${rest}`)).find((path) => path !== undefined);
  } catch {
    return undefined;
  }
}
