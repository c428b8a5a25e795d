import { resolve } from "node:path";
import { addressesOf } from "./addresses.ts";
import type { Config, FtpsConfig } from "./config.ts";
import { ConfigError } from "./errors.ts";
import { workerAccess } from "./worker_module.ts";

/** What a command touches beside its own memory; nothing else is allowed to it. */
export interface Access {
  /** Files and folders that are read. */
  readonly read?: readonly string[];
  /** Files and folders that are written. */
  readonly write?: readonly string[];
  /** `host:port`, or `host` where the port is not known beforehand. */
  readonly net?: readonly string[];
  /** Programs that are run. */
  readonly run?: readonly string[];
}

/** Joins what several parts of a command touch. */
export function joinAccess(...parts: readonly Access[]): Access {
  const join = (key: keyof Access) => [...new Set(parts.flatMap((part) => part[key] ?? []))];
  return { read: join("read"), write: join("write"), net: join("net"), run: join("run") };
}

/** What every command reads: the `.env` file, secrets and certificates. */
export function configAccess(config: Config): Access {
  return { read: [".env", ...config.files] };
}

/** Access to the database. */
export function databaseAccess({ database }: Config): Access {
  if (database.kind === "embedded") {
    const { dir } = database;
    return { read: [dir], write: [dir], net: [`unix:${resolve(dir)}/run/socket`] };
  }
  return { net: [`${netHost(database.host)}:${database.port}`] };
}

/** Access to the broker. */
export function brokerAccess({ broker }: Config): Access {
  return broker.kind === "database" ? {} : { net: [`${netHost(broker.host)}:${broker.port}`] };
}

/**
 * Access to the FTPS server: its control port, and any port of its address, since a passive data connection (RFC 4217, EPSV of RFC 2428) goes to
 * a port that the server chooses.
 */
function ftpsAccess({ host, port }: FtpsConfig, addresses: readonly string[]): Access {
  return { net: [`${netHost(host)}:${port}`, ...addresses.map(netHost)] };
}

/** Access to where uploads go, over so many connections. */
export async function destinationAccess({ destination }: Config, connections: number): Promise<Access> {
  if (destination.kind === "directory") return { read: [destination.dir], write: [destination.dir] };
  const net = ftpsAccess(destination.ftps, await addressesOf(destination.ftps.host));
  return connections === 1 ? net : joinAccess(net, workerAccess());
}

/** IPv6 addresses stand in brackets in Deno's network permissions. */
export function netHost(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
}

/** Environment variables that `pixl` reads. */
const ENVIRONMENT = "PIXL_*,RABBITMQ_*,FTP_*,NO_COLOR,FORCE_COLOR,CLICOLOR_FORCE,TERM,COLORTERM,TMPDIR";

/**
 * The flags that let a command do its work and nothing else.
 *
 * @param access What it touches.
 * @returns Arguments for `deno run`, one each.
 * @throws {ConfigError} If a path or host cannot stand in a flag, and so might grant something else.
 */
export function denoFlags(access: Access): string[] {
  const list = (name: string, values: readonly string[] = []) => {
    values.forEach(checkValue);
    return values.length === 0 ? [] : [`--allow-${name}=${values.join(",")}`];
  };
  return [
    "--no-prompt",
    ...list("read", access.read),
    ...list("write", access.write),
    ...list("net", access.net),
    ...list("run", access.run),
    `--allow-env=${ENVIRONMENT}`,
    // Libraries look for variables of their own, which must not steer them: they find them unset.
    "--ignore-env",
  ];
}

/** A comma separates values for Deno, a line end separates flags for whoever reads them. */
function checkValue(value: string): void {
  if (value === "") throw new ConfigError(["An empty name is given for a file, folder or host: name it"]);
  // deno-lint-ignore no-control-regex -- control characters are what it looks for
  if (/[,\u0000-\u001f\u007f]/.test(value)) {
    throw new ConfigError([
      `${JSON.stringify(value)} cannot be permitted: use a name without commas and control characters`,
    ]);
  }
}
