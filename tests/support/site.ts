import { join } from "node:path";
import {
  type SimulatedHospital,
  type SimulatedHospitalOptions,
  simulateHospital,
} from "../../src/demo/simulated_hospital.ts";
import { writeSyntheticExtract } from "../../src/demo/synthetic_extract.ts";
import { sharedRabbitmq } from "./rabbitmq.ts";
import { freshDatabase, sharedPostgres } from "./postgres.ts";
import { newEmbedded } from "./embedded.ts";
import type { FtpsServer } from "./ftps.ts";
import type { PixlOptions } from "./pixl.ts";

/** A site on its own: an extract, a database, a virtual host of the broker, a simulated hospital, and folders. */
export interface Site extends AsyncDisposable, PixlOptions {
  readonly dir: string;
  readonly extractDir: string;
  readonly imageDir: string;
  readonly exportDir: string;
  readonly hospital: SimulatedHospital;
}

/** What a site is made of. */
export interface SiteOptions {
  readonly studies?: number;
  /** An extract to be used instead of a synthetic one. */
  readonly extractDir?: string;
  /** Where uploads go. */
  readonly ftps?: FtpsServer & { readonly mode: "implicit" | "explicit" };
  /** The embedded database, with the queues in it, instead of PostgreSQL and RabbitMQ. */
  readonly embedded?: boolean;
  readonly hospital?: Omit<SimulatedHospitalOptions, "imageDir">;
}

/** Sets up a site in a temporary folder; all of it is gone with the scope. */
export async function openSite(options: SiteOptions = {}): Promise<Site> {
  await using stack = new AsyncDisposableStack();
  const dir = await Deno.makeTempDir({ prefix: "pixl-site-" });
  stack.defer(() => Deno.remove(dir, { recursive: true }));
  const [imageDir, exportDir] = [join(dir, "images"), join(dir, "exports")];
  await Deno.mkdir(imageDir);
  await Deno.mkdir(exportDir);
  const extractDir = options.extractDir ?? join(dir, "extract");
  if (options.extractDir === undefined) await writeSyntheticExtract(extractDir, { studies: options.studies ?? 40 });
  const hospital = stack.use(simulateHospital({ imageDir, ...options.hospital }));
  const env = {
    PIXL_EXPORT_DIR: exportDir,
    PIXL_IMAGE_DIR: imageDir,
    PIXL_LOG_LEVEL: "debug",
    ...(options.embedded
      ? { PIXL_DATA_DIR: await newEmbedded(join(dir, "data")) }
      : { ...await postgresEnv(stack), ...await rabbitmqEnv(stack) }),
    ...(options.ftps === undefined ? {} : await ftpsEnv(options.ftps, dir)),
  };
  const kept = stack.move();
  return {
    dir,
    extractDir,
    imageDir,
    exportDir,
    hospital,
    env,
    cwd: dir,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function postgresEnv(stack: AsyncDisposableStack): Promise<Record<string, string>> {
  const server = stack.use(await sharedPostgres());
  const { host, port, database, user, password } = stack.use(await freshDatabase(server));
  return {
    PIXL_DB_HOST: host,
    PIXL_DB_PORT: String(port),
    PIXL_DB_NAME: database,
    PIXL_DB_USER: user,
    PIXL_DB_PASSWORD: password,
  };
}

async function rabbitmqEnv(stack: AsyncDisposableStack): Promise<Record<string, string>> {
  const server = await sharedRabbitmq();
  const vhost = `site-${crypto.randomUUID()}`;
  await server.addVirtualHost(vhost);
  stack.defer(() => server.deleteVirtualHost(vhost));
  return {
    RABBITMQ_HOST: server.host,
    RABBITMQ_PORT: String(server.port),
    RABBITMQ_USERNAME: server.username,
    RABBITMQ_PASSWORD: server.password,
    RABBITMQ_VHOST: vhost,
  };
}

async function ftpsEnv(server: FtpsServer & { readonly mode: string }, dir: string): Promise<Record<string, string>> {
  const ca = join(dir, "dsh-ca.pem");
  await Deno.writeTextFile(ca, server.caPem);
  return {
    FTP_HOST: server.host,
    FTP_PORT: String(server.port),
    FTP_USER_NAME: server.user,
    FTP_USER_PASSWORD: server.password,
    FTP_MODE: server.mode,
    FTP_BASE_PATH: server.basePath,
    FTP_CA_FILE: ca,
  };
}
