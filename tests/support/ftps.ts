import { delay } from "@std/async";
import type { Pki } from "../../src/demo/pki.ts";

const PATIENCE_MS = 10_000;

/** A private FTPS server. */
export interface FtpsServer extends AsyncDisposable {
  /** For test names. */
  readonly program: string;
  /** How TLS begins. */
  readonly mode: "implicit" | "explicit";
  /** In the certificate. */
  readonly host: string;
  /** Control connection. */
  readonly port: number;
  /** First and last port of data connections. */
  readonly passive: readonly [number, number];
  /** Login. */
  readonly user: string;
  /** Login. */
  readonly password: string;
  /** Whom to trust. */
  readonly caPem: string;
  /** Local folder whose content appears under `basePath`. */
  readonly files: string;
  /** Where the user may write. */
  readonly basePath: string;
  /** Protocol log on disk, empty text if the server has none. */
  readonly log: string;
  /** Ends every session without goodbye, where each is a process of its own. */
  readonly killSessions?: () => Promise<void>;
  /** Sends every session's process a signal; `SIGSTOP` makes them stall. */
  readonly signalSessions?: (signal: Deno.Signal) => Promise<void>;
  /** Ends sessions and server without goodbye. */
  readonly kill?: () => Promise<void>;
  /** Starts it again after that, on the same port. */
  readonly revive?: () => Promise<void>;
}

/** How a private server is started. */
export interface FtpsServerOptions {
  /** How TLS begins. */
  readonly mode: "implicit" | "explicit";
  /** Whether data connections must resume the TLS session. @default {true} */
  readonly reuse?: boolean;
  /** Another certificate than the shared one. */
  readonly pki?: Pki;
  /** The only kind of hash that proftpd offers. @default All. */
  readonly digest?: "md5" | "crc32";
  /** Whether renaming is refused, by vsftpd and proftpd. @default {false} */
  readonly refuseRename?: boolean;
  /** Most connections of one address to vsftpd and proftpd. @default Any number. */
  readonly maxConnections?: number;
  /** What proftpd speaks. @default {"TLSv1.2 TLSv1.3"} */
  readonly tls?: string;
  /** The only processor that vsftpd and its sessions run on, counted from 0. @default Any. */
  readonly processor?: number;
  /** Where vsftpd's temporary folder is made. @default The system's folder for those. */
  readonly parent?: string | undefined;
}

/** A temporary folder that other users can reach, with the certificate and key in one file. */
export async function serverFolder(
  program: string,
  pki: Pki,
  parent?: string,
): Promise<{ dir: string; certificate: string }> {
  const dir = await Deno.makeTempDir({ prefix: `pixl-${program}-`, ...(parent === undefined ? {} : { dir: parent }) });
  const certificate = `${dir}/server.pem`;
  await Deno.writeTextFile(certificate, pki.keyPem + pki.certPem, { mode: 0o600 });
  await Deno.chmod(dir, 0o755);
  return { dir, certificate };
}

/** A range of passive ports below those that the system gives out itself. */
export function passivePorts(): [number, number] {
  const first = 20_000 + Math.floor(Math.random() * 100) * 100;
  return [first, first + 99];
}

/** A server process that is ready, and how it is ended. */
export interface ServerProcess extends AsyncDisposable {
  /** Ends every session without goodbye. */
  killSessions(): Promise<void>;
  /** Sends every session's process a signal. */
  signalSessions(signal: Deno.Signal): Promise<void>;
  /** Ends sessions and server without goodbye. */
  kill(): Promise<void>;
  /** Starts it again after that. */
  revive(): Promise<void>;
}

/** Runs a server in the foreground until it accepts connections on the port. */
export async function runServer(command: readonly string[], port: number, dir: string): Promise<ServerProcess> {
  let running = await spawn(command, port, dir);
  const signalSessions = async (signal: Deno.Signal) => {
    for (const pid of await children(running.pid)) kill(pid, signal);
  };
  let runs = true;
  const killAll = async () => {
    if (!runs) return;
    runs = false;
    const sessions = await children(running.pid);
    for (const pid of [running.pid, ...sessions]) kill(pid); // the first one takes connections
    await running.status;
  };
  return {
    killSessions: () => signalSessions("SIGKILL"),
    signalSessions,
    kill: killAll,
    async revive() {
      running = await spawn(command, port, dir);
      runs = true;
    },
    [Symbol.asyncDispose]: killAll,
  };
}

async function spawn(command: readonly string[], port: number, dir: string): Promise<Deno.ChildProcess> {
  const child = new Deno.Command("/bin/sh", {
    args: ["-c", `exec "$@" >>${dir}/out.log 2>&1`, "sh", ...command],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  let ended = false;
  const status = child.status.then(() => ended = true);
  const end = performance.now() + PATIENCE_MS;
  while (!await accepts(port)) {
    if (ended || performance.now() > end) {
      if (!ended) child.kill("SIGKILL");
      await status;
      throw new Error(`${command[0]} did not start: ${await Deno.readTextFile(`${dir}/out.log`).catch(() => "")}`);
    }
    await delay(10);
  }
  return child;
}

/** Processes that a process has started, and theirs. */
async function children(pid: number): Promise<number[]> {
  const found: number[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await Deno.readTextFile(`/proc/${name}/stat`).catch(() => "");
    const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    if (parent === pid) found.push(...await children(Number(name)), Number(name));
  }
  return found;
}

function kill(pid: number, signal: Deno.Signal = "SIGKILL"): void {
  try {
    Deno.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

async function accepts(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}
