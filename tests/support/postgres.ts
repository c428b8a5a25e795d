import postgres from "postgres";
import { delay } from "@std/async";
import { dirname } from "node:path";
import type { PostgresOptions } from "@pixl/core/database";
import type { Pki } from "../../src/demo/pki.ts";
import { freePort } from "./ports.ts";
import { pathOf } from "./programs.ts";

/** How to reach a test server; travels as JSON in `PIXL_TEST_POSTGRES`. */
export interface PostgresAddress {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string;
}

/** A private PostgreSQL server, gone with the scope. */
export interface PostgresServer extends PostgresAddress, AsyncDisposable {
  /** Orderly stop. Connections are closed. */
  stop(): Promise<void>;
  /** SIGKILL of the server: a crash. */
  kill(): Promise<void>;
  /** Start after `stop` or `kill`, on the same port. */
  restart(): Promise<void>;
  /** SIGSTOP of every process of the server: it neither answers nor hangs up. */
  freeze(): void;
  /** SIGCONT. */
  thaw(): void;
  /** What the server wrote to its log so far. */
  log(): string;
}

const PASSWORD = "PWSEED p@ss:w/ord'\"\\%?#é";

/** Starts a private server in a temporary folder, on a free port of 127.0.0.1. */
export async function startPostgres(options: { readonly pki?: Pki } = {}): Promise<PostgresServer> {
  const bin = dirname(pathOf("postgresql"));
  const dir = await Deno.makeTempDir({ prefix: "pixl-postgres-" });
  await Deno.writeTextFile(`${dir}/password`, PASSWORD);
  if (options.pki !== undefined) {
    await Deno.writeTextFile(`${dir}/server.crt`, options.pki.certPem);
    await Deno.writeTextFile(`${dir}/server.key`, options.pki.keyPem, { mode: 0o600 });
  }
  if (isRoot()) await command("chown", ["-R", "postgres:postgres", dir]);
  // No C locale for the server's messages only: identifiers and text are UTF-8 as on a real server.
  const run = (program: string, args: string[]) => asPostgres(`${bin}/${program}`, args, dir);
  await run("initdb", [
    ...["-D", `${dir}/data`, "-U", "pixl", `--pwfile=${dir}/password`, "-A", "scram-sha-256"],
    ...["-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
  ]);
  const port = freePort();
  await Deno.writeTextFile(
    `${dir}/data/postgresql.conf`,
    [
      "",
      "listen_addresses = '127.0.0.1'",
      `port = ${port}`,
      "unix_socket_directories = ''",
      "fsync = off",
      "max_connections = 60",
      "log_min_error_statement = panic",
      "log_error_verbosity = terse",
      "log_parameter_max_length = 0",
      "log_parameter_max_length_on_error = 0",
      ...(options.pki === undefined
        ? []
        : ["ssl = on", `ssl_cert_file = '${dir}/server.crt'`, `ssl_key_file = '${dir}/server.key'`]),
      "",
    ].join("\n"),
    { append: true },
  );
  const start = () => run("pg_ctl", ["-D", `${dir}/data`, "-l", `${dir}/log`, "-w", "-t", "60", "start"]);
  const stop = () => run("pg_ctl", ["-D", `${dir}/data`, "-m", "fast", "-w", "stop"]);
  const pid = () => Number(Deno.readTextFileSync(`${dir}/data/postmaster.pid`).split("\n")[0]);
  await start();
  let running = true;
  const server: PostgresServer = {
    host: "127.0.0.1",
    port,
    database: "postgres",
    user: "pixl",
    password: PASSWORD,
    log: () => Deno.readTextFileSync(`${dir}/log`),
    async stop() {
      running = false;
      await stop();
    },
    async kill() {
      running = false;
      const family = [pid(), ...children(pid())];
      signal(family, "SIGKILL");
      const deadline = performance.now() + 20_000;
      while (family.some(isAlive)) {
        if (performance.now() > deadline) throw new Error("PostgreSQL did not die");
        await delay(10);
      }
      await Deno.remove(`${dir}/data/postmaster.pid`);
    },
    async restart() {
      await start();
      running = true;
    },
    freeze: () => signal([pid(), ...children(pid())], "SIGSTOP"),
    thaw: () => signal([pid(), ...children(pid())], "SIGCONT"),
    async [Symbol.asyncDispose]() {
      if (running) {
        signal([pid(), ...children(pid())], "SIGCONT");
        await stop();
      }
      running = false;
      await Deno.remove(dir, { recursive: true }).catch((error) => {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      });
    },
  };
  return server;
}

/** The server of the test run if the runner started one, else one for this file. Never stop it: others may use it. */
export async function sharedPostgres(): Promise<PostgresAddress & AsyncDisposable> {
  const shared = Deno.env.get("PIXL_TEST_POSTGRES");
  if (shared === undefined) return await startPostgres();
  return { ...(JSON.parse(shared) as PostgresAddress), [Symbol.asyncDispose]: () => Promise.resolve() };
}

/** An empty database with a name of its own, dropped with the scope. */
export async function freshDatabase(server: PostgresAddress): Promise<PostgresOptions & AsyncDisposable> {
  const database = `test_${crypto.randomUUID().replaceAll("-", "")}`;
  await asAdmin(server, (sql) => sql`create database ${sql(database)}`);
  return {
    kind: "postgres",
    host: server.host,
    port: server.port,
    database,
    user: server.user,
    password: server.password,
    tls: false,
    [Symbol.asyncDispose]: () => asAdmin(server, (sql) => sql`drop database ${sql(database)} with (force)`),
  };
}

async function asAdmin(server: PostgresAddress, work: (sql: postgres.Sql) => PromiseLike<unknown>): Promise<void> {
  const sql = postgres({
    host: server.host,
    port: server.port,
    database: server.database,
    user: server.user,
    password: server.password,
    max: 1,
    onnotice: () => {},
  });
  try {
    await work(sql);
  } finally {
    await sql.end();
  }
}

/** initdb and postgres refuse to run as root. */
function asPostgres(program: string, args: string[], cwd: string): Promise<void> {
  const drop = ["--reuid=postgres", "--regid=postgres", "--clear-groups", program, ...args];
  return isRoot() ? command("setpriv", drop, cwd) : command(program, args, cwd);
}

function isRoot(): boolean {
  return Deno.uid() === 0;
}

async function command(program: string, args: string[], cwd = "/"): Promise<void> {
  const env = { PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8", TZ: "UTC" };
  // pg_ctl's server keeps inherited pipes open, so its output is not collected: it goes to the log file.
  const piped = !args.includes("start");
  const child = new Deno.Command(program, {
    args,
    cwd,
    env,
    clearEnv: true,
    stdin: "null",
    stdout: "null",
    stderr: piped ? "piped" : "null",
  });
  if (!piped) {
    const status = await child.spawn().status;
    if (!status.success) throw new Error(`${program} exited with ${status.code}`);
    return;
  }
  const output = await child.output();
  if (!output.success) {
    throw new Error(`${program} exited with ${output.code}: ${new TextDecoder().decode(output.stderr)}`);
  }
}

function children(parent: number): number[] {
  return [...Deno.readDirSync("/proc")].map((entry) => Number(entry.name)).filter((pid) =>
    pid > 0 && parentOf(pid) === parent
  );
}

function parentOf(pid: number): number | undefined {
  return stat(pid)?.ppid;
}

function isAlive(pid: number): boolean {
  const state = stat(pid)?.state;
  return state !== undefined && state !== "Z" && state !== "X";
}

function stat(pid: number): { state: string; ppid: number } | undefined {
  try {
    const [state = "", ppid = ""] = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ").at(-1)?.split(" ") ?? [];
    return { state, ppid: Number(ppid) };
  } catch {
    return undefined;
  }
}

function signal(pids: number[], name: Deno.Signal): void {
  for (const pid of pids) {
    try {
      Deno.kill(pid, name);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}
