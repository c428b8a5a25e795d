import { isAbsolute, relative } from "node:path";
import { isLoopback } from "../loopback.ts";
import { type ReadSetting, SettingsReader } from "./settings.ts";

/** How a service proves who it is: by this authority, else by one of the system's; `false` for a connection in the clear. */
export type TlsConfig = { readonly ca?: string } | false;

/** A PostgreSQL server, or the embedded database in a folder. */
export type DatabaseConfig =
  | {
    readonly kind: "postgres";
    readonly host: string;
    readonly port: number;
    readonly database: string;
    readonly user: string;
    readonly password: string;
    readonly tls: TlsConfig;
  }
  | { readonly kind: "embedded"; readonly dir: string };

/** A RabbitMQ broker, or the queue table in the database. */
export type BrokerConfig =
  | {
    readonly kind: "rabbitmq";
    readonly host: string;
    readonly port: number;
    readonly username: string;
    readonly password: string;
    readonly vhost: string;
    readonly queueType: "quorum" | "classic";
    readonly tls: TlsConfig;
  }
  | { readonly kind: "database" };

/** The FTPS server of the Data Safe Haven. */
export interface FtpsConfig {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly mode: "implicit" | "explicit";
  readonly basePath: string;
  readonly serverName: string | undefined;
  readonly caPem: string | undefined;
}

/** Where uploads go: the FTPS server, or a folder such as a mounted share. */
export type DestinationConfig =
  | { readonly kind: "ftps"; readonly ftps: FtpsConfig }
  | { readonly kind: "directory"; readonly dir: string };

/** The parts of the configuration that a command needs; the others are not looked at. */
export interface Needs {
  readonly database?: boolean;
  readonly broker?: boolean;
  readonly destination?: boolean;
}

/** Everything that was configured, checked. A part that was not asked for throws when it is read. */
export interface Config {
  readonly database: DatabaseConfig;
  readonly broker: BrokerConfig;
  readonly destination: DestinationConfig;
  /** Where exports are written, and read from for the upload. */
  readonly exportDir: string;
  /** Where the imaging service leaves study zips. */
  readonly imageDir: string;
  /** Studies a second for a queue whose rate was never set. */
  readonly defaultRate: number;
  /** Most studies of a queue at once after a pause, where it was never set. */
  readonly defaultCapacity: number;
  /** Files that were read for it: secrets and certificates. */
  readonly files: readonly string[];
}

/**
 * Reads and checks the configuration.
 *
 * @param read Reads one setting.
 * @param needs The parts that must be there.
 * @throws {ConfigError} With every problem of these parts at once.
 */
export function readConfig(read: ReadSetting, needs: Needs): Config {
  const settings = new SettingsReader(read);
  const database = needs.database || needs.broker ? readDatabase(settings) : undefined;
  const broker = needs.broker ? readBroker(settings) : undefined;
  const destination = needs.destination ? readDestination(settings) : undefined;
  if (
    destination?.kind === "ftps" && destination.ftps.caPem !== undefined && database?.kind === "postgres" &&
    database.tls !== false && !database.tls.ca
  ) {
    settings.problem(
      "FTP_CA_FILE is set and PIXL_DB_CA_FILE is not: uploads trust nobody else in the whole process, so name the database's authority too",
    );
  }
  const defaultRate = settings.number("PIXL_RATE", 5, { min: 0, max: 1_000_000 });
  const defaultCapacity = settings.number("PIXL_RATE_CAPACITY", 5, { min: 1, max: 1_000_000, whole: true });
  settings.check();
  return {
    get database() {
      return asked(database, "database");
    },
    get broker() {
      return asked(broker, "broker");
    },
    get destination() {
      return asked(destination, "destination");
    },
    exportDir: settings.optional("PIXL_EXPORT_DIR") ?? "exports",
    imageDir: settings.optional("PIXL_IMAGE_DIR") ?? "images",
    defaultRate,
    defaultCapacity,
    files: settings.files,
  };
}

function asked<T>(part: T | undefined, name: string): T {
  if (part === undefined) throw new Error(`The command did not say that it needs '${name}'`);
  return part;
}

function readDatabase(settings: SettingsReader): DatabaseConfig | undefined {
  const host = settings.optional("PIXL_DB_HOST");
  const dir = settings.optional("PIXL_DATA_DIR");
  if (host !== undefined && dir !== undefined) {
    settings.problem(
      "PIXL_DB_HOST and PIXL_DATA_DIR are both set: keep the first for a PostgreSQL server, the second for the embedded database",
    );
    return undefined;
  }
  if (dir !== undefined) return { kind: "embedded", dir };
  if (host === undefined) {
    settings.problem(
      "PIXL_DB_HOST is not set: name the PostgreSQL server, or set PIXL_DATA_DIR to a folder for the embedded database",
    );
    return undefined;
  }
  return {
    kind: "postgres",
    host,
    port: settings.port("PIXL_DB_PORT", 5432),
    database: settings.optional("PIXL_DB_NAME") ?? "pixl",
    user: settings.required("PIXL_DB_USER", "name the database user"),
    password: settings.secret("PIXL_DB_PASSWORD", "give the database user's password"),
    tls: readTls(settings, "PIXL_DB", host),
  };
}

function readBroker(settings: SettingsReader): BrokerConfig {
  const host = settings.optional("RABBITMQ_HOST");
  if (host === undefined) return { kind: "database" };
  const tls = readTls(settings, "RABBITMQ", host);
  return {
    kind: "rabbitmq",
    host,
    port: settings.port("RABBITMQ_PORT", tls === false ? 5672 : 5671),
    username: settings.required("RABBITMQ_USERNAME", "name the broker's user"),
    password: settings.secret("RABBITMQ_PASSWORD", "give the broker user's password"),
    vhost: settings.optional("RABBITMQ_VHOST") ?? "/",
    queueType: settings.choice("RABBITMQ_QUEUE_TYPE", ["quorum", "classic"], "quorum"),
    tls,
  };
}

/** Beyond this host nothing goes in the clear, unless somebody says so. */
function readTls(settings: SettingsReader, prefix: string, host: string): TlsConfig {
  const ca = settings.pem(`${prefix}_CA_FILE`);
  const usual = ca === undefined && isLoopback(host) ? "off" : "verify";
  const wanted = settings.choice(`${prefix}_TLS`, ["verify", "off"], usual);
  if (wanted === "off" && ca !== undefined) {
    settings.problem(`${prefix}_TLS is off and ${prefix}_CA_FILE is set: keep one`);
  }
  return wanted === "off" ? false : ca === undefined ? {} : { ca };
}

function readDestination(settings: SettingsReader): DestinationConfig {
  const dir = settings.optional("PIXL_UPLOAD_DIR");
  if (dir === undefined) return { kind: "ftps", ftps: readFtps(settings) };
  if (settings.optional("FTP_HOST") !== undefined) {
    settings.problem(
      "PIXL_UPLOAD_DIR and FTP_HOST are both set: keep the first for a folder, the second for an FTPS server",
    );
  }
  if (!isAbsolute(dir)) {
    settings.problem(
      `PIXL_UPLOAD_DIR must be an absolute path, as the ledger knows the share by: current value is '${dir}'`,
    );
  } else {
    for (const name of ["PIXL_EXPORT_DIR", "PIXL_IMAGE_DIR"]) {
      const source = settings.optional(name);
      if (source === undefined || !isAbsolute(source) || relative(source, dir).startsWith("..")) continue;
      settings.problem(`PIXL_UPLOAD_DIR is in ${name}: nothing would leave this host, name the share`);
    }
  }
  return { kind: "directory", dir };
}

function readFtps(settings: SettingsReader): FtpsConfig {
  const mode = settings.choice("FTP_MODE", ["implicit", "explicit"], "implicit");
  return {
    host: settings.required("FTP_HOST", "name the FTPS server of the Data Safe Haven"),
    port: settings.port("FTP_PORT", mode === "implicit" ? 990 : 21),
    user: settings.required("FTP_USER_NAME", "name the FTPS user"),
    password: settings.secret("FTP_USER_PASSWORD", "give the FTPS user's password"),
    mode,
    basePath: settings.optional("FTP_BASE_PATH") ?? "/",
    serverName: settings.optional("FTP_SERVER_NAME"),
    caPem: settings.pem("FTP_CA_FILE"),
  };
}
