/** Services that run for the whole test run, and the environment that tells tests about them. */
export interface SharedServices extends AsyncDisposable {
  readonly env: Record<string, string>;
}

/**
 * Starts the services of compose.yml on ports of their own, where a Docker engine with Compose answers.
 *
 * @param say Tells people what happens.
 * @returns The services, or `undefined` without an engine.
 */
export async function composeServices(say: (text: string) => void): Promise<SharedServices | undefined> {
  if (!await docker(["info"], {}) || !await docker(["compose", "version"], {})) return undefined;
  say("starting the services of compose.yml with Docker");
  const env = {
    RABBITMQ_USERNAME: "pixl",
    RABBITMQ_PASSWORD: "PWSEED-rabbitmq",
    RABBITMQ_PORT: "45672",
    PIXL_DB_NAME: "pixl",
    PIXL_DB_USER: "pixl",
    PIXL_DB_PASSWORD: "PWSEED-postgres",
    PIXL_DB_PORT: "45432",
    FTP_USER_NAME: "pixl",
    FTP_USER_PASSWORD: "PWSEED-ftps",
    FTP_PORT: "40990",
    FTP_MODE: "implicit",
  };
  const compose = ["compose", "--project-name", "pixl-test"];
  const stop = async () => {
    await docker([...compose, "down", "--volumes"], env);
  };
  if (!await docker([...compose, "up", "--wait", "--build"], env)) {
    await stop();
    say("the services of compose.yml did not start; tests that need them are skipped");
    return undefined;
  }
  const host = "127.0.0.1";
  const rabbitmq = {
    host,
    port: Number(env.RABBITMQ_PORT),
    username: env.RABBITMQ_USERNAME,
    password: env.RABBITMQ_PASSWORD,
    dir: "",
  };
  const postgres = {
    host,
    port: Number(env.PIXL_DB_PORT),
    database: env.PIXL_DB_NAME,
    user: env.PIXL_DB_USER,
    password: env.PIXL_DB_PASSWORD,
  };
  const ftps = {
    program: "the FTPS server of compose.yml",
    mode: env.FTP_MODE,
    host: "localhost",
    port: Number(env.FTP_PORT),
    user: env.FTP_USER_NAME,
    password: env.FTP_USER_PASSWORD,
    caPem: await Deno.readTextFile("ftps/ca.pem"),
    files: `${Deno.cwd()}/ftps/files`,
    basePath: "/",
    log: "",
  };
  return {
    env: {
      PIXL_TEST_RABBITMQ: JSON.stringify(rabbitmq),
      PIXL_TEST_POSTGRES: JSON.stringify(postgres),
      PIXL_TEST_FTPS: JSON.stringify(ftps),
    },
    [Symbol.asyncDispose]: stop,
  };
}

async function docker(args: readonly string[], env: Record<string, string>): Promise<boolean> {
  try {
    const command = new Deno.Command("docker", { args: [...args], env, stdin: "null", stdout: "null", stderr: "null" });
    return (await command.output()).success;
  } catch {
    return false;
  }
}
