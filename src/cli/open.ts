import { getLogger } from "@logtape/logtape";
import { type Database, type EmbeddedAssets, Ledger, migrate, openDatabase, SharedRate } from "../database/mod.ts";
import { isLoopback } from "../loopback.ts";
import { type Broker, PostgresBroker, RabbitmqBroker } from "../queue/mod.ts";
import {
  type Destination,
  DirectoryDestination,
  FtpsDestination,
  type FtpsOptions,
  FtpsPool,
  Pace,
} from "../upload/mod.ts";
import type { BrokerConfig, Config, FtpsConfig, TlsConfig } from "./config.ts";
import { workerModule } from "./worker_module.ts";

const log = getLogger(["pixl", "cli"]);

/** Parts that a bundle carries and a run from source finds by itself. */
let pgliteAssets: (() => Promise<EmbeddedAssets>) | undefined;

/** Gives the embedded database its files, where they cannot be loaded from the npm package: in a bundle. */
export function provideAssets(load: () => Promise<EmbeddedAssets>): void {
  pgliteAssets = load;
}

/** A database with its ledger; an embedded one is brought up to date, since it has no administrator. */
export interface OpenLedger extends AsyncDisposable {
  readonly database: Database;
  readonly ledger: Ledger;
}

/** Opens the database that is configured. */
export async function openConfiguredDatabase({ database }: Config, signal: AbortSignal): Promise<Database> {
  if (database.kind === "embedded") return await openEmbedded(database.dir, signal, { shared: true });
  const { kind, host, port, user, password, tls } = database;
  warnOfClear("PIXL_DB_TLS", host, tls);
  return await openDatabase({ kind, host, port, database: database.database, user, password, tls }, { signal });
}

/** Opens the embedded database in a folder, for this process alone unless it is shared. */
export async function openEmbedded(
  dir: string,
  signal: AbortSignal,
  { shared = false }: { readonly shared?: boolean } = {},
): Promise<Database> {
  const assets = await pgliteAssets?.();
  return await openDatabase({ kind: "embedded", dir, shared, ...(assets === undefined ? {} : { assets }) }, { signal });
}

/** Opens the database and its ledger. */
export async function openLedger(config: Config, signal: AbortSignal): Promise<OpenLedger> {
  const database = await openConfiguredDatabase(config, signal);
  try {
    if (database.embedded) await migrate(database, { signal });
  } catch (error) {
    await database[Symbol.asyncDispose]();
    throw error;
  }
  return { database, ledger: new Ledger(database), [Symbol.asyncDispose]: () => database[Symbol.asyncDispose]() };
}

/** The tokens of a queue, which its consumers share. */
export function openRate(config: Config, database: Database, queue: string): SharedRate {
  return new SharedRate(database, queue, { rate: config.defaultRate, capacity: config.defaultCapacity });
}

/** Opens the broker that is configured; a queue table is in the database. */
export async function openBroker({ broker }: Config, database: Database, signal: AbortSignal): Promise<Broker> {
  if (broker.kind === "rabbitmq") return await openRabbitmq(broker, signal);
  return new PostgresBroker(database.sql, { listen: !database.embedded });
}

/** Opens a RabbitMQ. */
export async function openRabbitmq(broker: BrokerConfig & { kind: "rabbitmq" }, signal: AbortSignal): Promise<Broker> {
  const { host, port, username, password, vhost, queueType, tls } = broker;
  warnOfClear("RABBITMQ_TLS", host, tls);
  return await RabbitmqBroker.open({ host, port, username, password, vhost, queueType, tls }, { signal });
}

function warnOfClear(setting: string, host: string, tls: TlsConfig): void {
  if (tls !== false || isLoopback(host)) return;
  log.warn("{setting} is off: MRNs and accession numbers go to {host} in the clear", { setting, host });
}

/** How uploads go out. */
export interface UploadWays {
  readonly connections: number;
  readonly maxBytesPerSecond?: number;
}

/** Opens where uploads go. @param ledger Knows whether that was used before; without it a folder is not held to that. */
export async function openUpload(
  { destination }: Config,
  { connections, maxBytesPerSecond }: UploadWays,
  ledger: Ledger | undefined,
  signal: AbortSignal,
): Promise<Destination> {
  const pace = maxBytesPerSecond === undefined ? {} : { pace: new Pace(maxBytesPerSecond) };
  if (destination.kind === "directory") {
    const wasUsed = await ledger?.hasTransfersTo(destination.dir, { signal }) ?? false;
    return await DirectoryDestination.open(destination.dir, { ...pace, wasUsed });
  }
  const options = { ...ftpsOptions(destination.ftps), ...pace };
  if (connections === 1) return await FtpsDestination.open(options, { signal });
  const module = workerModule();
  return await FtpsPool.open({ ...options, connections, ...(module && { workerModule: module }) }, { signal });
}

function ftpsOptions({ serverName, caPem, ...options }: FtpsConfig): FtpsOptions {
  return {
    ...options,
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...(caPem === undefined ? {} : { caPem }),
  };
}
