import * as amqp from "amqplib";
import { Buffer } from "node:buffer";
import { createHash, randomBytes } from "node:crypto";
import { delay } from "@std/async";
import type { Pki } from "../../src/demo/pki.ts";
import { ROOT } from "./paths.ts";
import { freePorts } from "./ports.ts";
import { isAvailable, pathOf } from "./programs.ts";

/** Debian's wrappers in /usr/sbin change the user and the folder, so the scripts behind them are called. */
const SCRIPTS = "/usr/lib/rabbitmq/bin";
const STARTED = "Server startup complete";
const PATIENCE_MS = 60_000;

/** How to reach a private RabbitMQ, as JSON in `PIXL_TEST_RABBITMQ` where the test run has started one for all files. */
export interface RabbitmqAddress {
  /** Always 127.0.0.1. */
  readonly host: string;
  /** AMQP without TLS. */
  readonly port: number;
  /** AMQP with TLS, where it was asked for. */
  readonly tlsPort?: number;
  /** An administrator. */
  readonly username: string;
  /** With characters that a URL would have to escape. */
  readonly password: string;
  /** Its folder: data, logs, and `env.json` for rabbitmqctl; empty for the one of compose.yml. */
  readonly dir: string;
}

/** A private RabbitMQ. */
export interface RabbitmqServer extends RabbitmqAddress, AsyncDisposable {
  /** Runs rabbitmqctl (about 1.5 s) and gives what it printed. */
  ctl(...args: string[]): Promise<string>;
  /** A virtual host of that name, for its administrator (0.1 s). */
  addVirtualHost(name: string): Promise<void>;
  /** Removes one, with all in it. */
  deleteVirtualHost(name: string): Promise<void>;
  /** Ends it at once, without goodbye. */
  kill(): Promise<void>;
  /** Starts it again with the same data and port; ends it before if it runs. */
  restart(): Promise<void>;
  /** Shows another certificate from now on, to new connections. */
  showCertificate(pki: Pki): Promise<void>;
  /** Stops it as it stands: connections stay, nothing answers. */
  pause(): Promise<void>;
  /** Goes on after {@linkcode pause}. */
  resume(): Promise<void>;
}

/** How a private RabbitMQ differs from the others. */
export interface RabbitmqServerOptions {
  /** Its administrator. */
  readonly username?: string;
  /** The certificate that it shows at a port of its own; see {@linkcode RabbitmqServer.showCertificate}. */
  readonly pki?: Pki;
}

/**
 * Starts a RabbitMQ in a temporary folder with ports of its own (6 to 10 s). Disposal stops it and its epmd and removes the folder.
 *
 * @throws If rabbitmq-server is not installed.
 */
export async function startRabbitmq(
  { username = "pixl tester", pki }: RabbitmqServerOptions = {},
): Promise<RabbitmqServer> {
  pathOf("rabbitmq");
  const dir = await Deno.makeTempDir({ prefix: "pixl-rabbitmq-" });
  const [port = 0, epmd = 0, distribution = 0, tlsPort = 0] = freePorts(4);
  const tls = pki === undefined ? {} : { tlsPort };
  const address = { host: "127.0.0.1", port, ...tls, username, password: "PWSEED@/:%41&?#é", dir };
  if (pki !== undefined) await writeCertificate(dir, pki);
  const env = environment(dir, port, epmd, distribution);
  await configure(address, env);
  const server = new PrivateRabbitmq(address, env);
  try {
    await server.start();
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
  return server;
}

let own: Promise<RabbitmqServer> | undefined;

/** The RabbitMQ of the test run, or else one for this test file, stopped after its last test. */
export function sharedRabbitmq(): Promise<RabbitmqServer> {
  own ??= (async () => {
    const given = Deno.env.get("PIXL_TEST_RABBITMQ");
    if (given === undefined) return await startRabbitmq();
    const address: RabbitmqAddress = JSON.parse(given);
    if (address.dir === "") return new PrivateRabbitmq(address, {}, true);
    return new PrivateRabbitmq(address, JSON.parse(await Deno.readTextFile(`${address.dir}/env.json`)), true);
  })();
  return own;
}

/** Starts {@linkcode sharedRabbitmq} before the first test of a file and stops it after the last. To be called outside of tests. */
export function useSharedRabbitmq(): void {
  Deno.test.beforeAll(async () => {
    if (isAvailable("rabbitmq")) await sharedRabbitmq();
  });
  Deno.test.afterAll(async () => {
    await (await own?.catch(() => undefined))?.[Symbol.asyncDispose]();
    own = undefined;
  });
}

class PrivateRabbitmq implements RabbitmqServer {
  readonly host: string;
  readonly port: number;
  readonly tlsPort?: number;
  readonly username: string;
  readonly password: string;
  readonly dir: string;
  readonly #env: Record<string, string>;
  readonly #shared: boolean;
  #process: Deno.ChildProcess | undefined;

  /** @param shared Someone else's to stop. */
  constructor(address: RabbitmqAddress, env: Record<string, string>, shared = false) {
    ({ host: this.host, port: this.port, username: this.username, password: this.password, dir: this.dir } = address);
    if (address.tlsPort !== undefined) this.tlsPort = address.tlsPort;
    this.#env = env;
    this.#shared = shared;
  }

  async start(): Promise<void> {
    for (const file of ["log/rabbit.log", "pid"]) await Deno.remove(`${this.dir}/${file}`).catch(() => {});
    this.#process = new Deno.Command("/bin/sh", {
      args: ["-c", `exec ${SCRIPTS}/rabbitmq-server >>"$HOME/out.log" 2>&1 </dev/null`],
      cwd: this.dir,
      env: this.#env,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    let ended = false;
    this.#process.status.then(() => ended = true);
    const end = performance.now() + PATIENCE_MS;
    while (!(await this.#logged(STARTED) && await this.#accepts())) {
      if (ended || performance.now() > end) {
        const output = await Deno.readTextFile(`${this.dir}/out.log`).catch(() => "");
        throw new Error(`RabbitMQ did not start: ${output.slice(-2_000)}`);
      }
      await delay(50);
    }
  }

  async ctl(...args: string[]): Promise<string> {
    // Without a folder it is the one of compose.yml.
    const inDocker = ["compose", "--project-name", "pixl-test", "exec", "-T", "rabbitmq", "rabbitmqctl"];
    const { success, stdout, stderr } = await new Deno.Command(this.dir === "" ? "docker" : `${SCRIPTS}/rabbitmqctl`, {
      args: this.dir === "" ? [...inDocker, ...args] : args,
      cwd: this.dir === "" ? ROOT : this.dir,
      env: this.#env,
      stdin: "null",
    }).output();
    const text = new TextDecoder();
    if (!success) throw new Error(`rabbitmqctl ${args[0]} failed: ${text.decode(stderr)}${text.decode(stdout)}`);
    return text.decode(stdout);
  }

  async addVirtualHost(name: string): Promise<void> {
    const permissions = [this.username, name, ".*", ".*", ".*", BY_TESTS].map(binary).join();
    await this.#eval(
      `ok = rabbit_vhost:add(${binary(name)}, ${
        binary(BY_TESTS)
      }), rabbit_auth_backend_internal:set_permissions(${permissions}).`,
    );
  }

  async deleteVirtualHost(name: string): Promise<void> {
    await this.#eval(`rabbit_vhost:delete(${binary(name)}, ${binary(BY_TESTS)}).`);
  }

  /** Has it evaluate Erlang expressions, by way of a program that does not start an Erlang of its own. */
  async #eval(expressions: string): Promise<void> {
    if (this.dir === "") return void await this.ctl("eval", expressions);
    const { HOME = "", RABBITMQ_DIST_PORT = "" } = this.#env;
    const cookie = await Deno.readTextFile(`${HOME}/.erlang.cookie`);
    const child = new Deno.Command("erl_call", {
      args: ["-h", `tests-${crypto.randomUUID()}`, "-c", cookie, "-address", `127.0.0.1:${RABBITMQ_DIST_PORT}`, "-e"],
      env: this.#env,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(`${expressions}\n`));
    await writer.close();
    const { success, stdout, stderr } = await child.output();
    const text = new TextDecoder();
    const said = text.decode(stdout);
    if (!success || !said.startsWith("{ok, ok}")) throw new Error(`erl_call failed: ${text.decode(stderr)}${said}`);
  }

  async kill(): Promise<void> {
    this.#mine();
    await this.#end("SIGKILL");
  }

  async restart(): Promise<void> {
    this.#mine();
    await this.#end("SIGTERM");
    await this.start();
  }

  async showCertificate(pki: Pki): Promise<void> {
    await writeCertificate(this.dir, pki);
    await this.ctl("eval", "ssl:clear_pem_cache().");
  }

  async pause(): Promise<void> {
    this.#mine();
    Deno.kill(await this.#pid(), "SIGSTOP");
  }

  async resume(): Promise<void> {
    Deno.kill(await this.#pid(), "SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#shared) return;
    await this.#end("SIGKILL");
    await new Deno.Command("epmd", {
      args: ["-port", this.#env.ERL_EPMD_PORT ?? "", "-kill"],
      stdout: "null",
      stderr: "null",
    }).output().catch(() => {});
    await Deno.remove(this.dir, { recursive: true }).catch(() => {});
  }

  async #end(signal: Deno.Signal): Promise<void> {
    const pid = await this.#pid();
    if (pid > 0) {
      try {
        Deno.kill(pid, signal);
      } catch {
        // It has ended by itself.
      }
    } else this.#process?.kill("SIGKILL");
    await this.#process?.status;
    this.#process = undefined;
    // Another process may get the number one day.
    await Deno.remove(`${this.dir}/pid`).catch(() => {});
  }

  /** 0 if it does not run. */
  async #pid(): Promise<number> {
    return Number(await Deno.readTextFile(`${this.dir}/pid`).catch(() => "0"));
  }

  #mine(): void {
    if (this.#shared) throw new Error("Other tests use this RabbitMQ: start one of your own to end it");
  }

  async #logged(text: string): Promise<boolean> {
    return (await Deno.readTextFile(`${this.dir}/log/rabbit.log`).catch(() => "")).includes(text);
  }

  async #accepts(): Promise<boolean> {
    try {
      (await Deno.connect({ hostname: this.host, port: this.port })).close();
      return true;
    } catch {
      return false;
    }
  }
}

/** In whose name virtual hosts are made. */
const BY_TESTS = "tests";

/** A binary of Erlang. */
function binary(text: string): string {
  return `<<${new TextEncoder().encode(text).join()}>>`;
}

function environment(dir: string, port: number, epmd: number, distribution: number): Record<string, string> {
  return {
    // The Erlang cookie is made there.
    HOME: dir,
    ERL_EPMD_PORT: String(epmd),
    ERL_EPMD_ADDRESS: "127.0.0.1",
    RABBITMQ_NODENAME: `t${port}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_DIST_PORT: String(distribution),
    RABBITMQ_MNESIA_BASE: `${dir}/mnesia`,
    RABBITMQ_LOG_BASE: `${dir}/log`,
    RABBITMQ_LOGS: `${dir}/log/rabbit.log`,
    RABBITMQ_CONFIG_FILE: `${dir}/rabbitmq`,
    RABBITMQ_ADVANCED_CONFIG_FILE: `${dir}/advanced`,
    RABBITMQ_CONF_ENV_FILE: `${dir}/env.conf`,
    RABBITMQ_ENABLED_PLUGINS_FILE: `${dir}/enabled_plugins`,
    RABBITMQ_GENERATED_CONFIG_DIR: `${dir}/generated`,
    RABBITMQ_PID_FILE: `${dir}/pid`,
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +SDio 4 +A 4",
  };
}

async function configure(address: RabbitmqAddress, env: Record<string, string>): Promise<void> {
  const { dir, port, tlsPort, username, password } = address;
  const salt = randomBytes(4);
  const hash = createHash("sha256").update(salt).update(password).digest();
  const definitions = {
    users: [{
      name: username,
      password_hash: Buffer.concat([salt, hash]).toString("base64"),
      hashing_algorithm: "rabbit_password_hashing_sha256",
      tags: "administrator",
    }],
    vhosts: [{ name: "/" }],
    permissions: [{ user: username, vhost: "/", configure: ".*", write: ".*", read: ".*" }],
  };
  const settings = [
    `listeners.tcp.1 = 127.0.0.1:${port}`,
    ...(tlsPort === undefined ? [] : [
      `listeners.ssl.1 = 127.0.0.1:${tlsPort}`,
      `ssl_options.certfile = ${dir}/server.pem`,
      `ssl_options.keyfile = ${dir}/server.key`,
      "ssl_options.versions.1 = tlsv1.3",
      "ssl_options.versions.2 = tlsv1.2",
    ]),
    `load_definitions = ${dir}/definitions.json`,
    "disk_free_limit.absolute = 50MB",
    "log.console = false",
    "log.file.level = info",
  ];
  await Deno.writeTextFile(`${dir}/definitions.json`, JSON.stringify(definitions));
  await Deno.writeTextFile(`${dir}/rabbitmq.conf`, settings.join("\n") + "\n");
  await Deno.writeTextFile(`${dir}/enabled_plugins`, "[].\n");
  await Deno.writeTextFile(`${dir}/env.conf`, "");
  await Deno.writeTextFile(`${dir}/env.json`, JSON.stringify(env));
}

/** RabbitMQ without this project between. */
export async function withRaw<T>(run: (channel: amqp.Channel) => Promise<T>): Promise<T> {
  const { host, port, username, password } = await sharedRabbitmq();
  const connection = await amqp.connect({ hostname: host, port, username, password, vhost: "%2F" });
  try {
    const channel = await connection.createChannel();
    channel.on("error", () => {});
    return await run(channel);
  } finally {
    await connection.close();
  }
}

async function writeCertificate(dir: string, { certPem, keyPem }: Pki): Promise<void> {
  await Deno.writeTextFile(`${dir}/server.pem`, certPem);
  await Deno.writeTextFile(`${dir}/server.key`, keyPem);
}
