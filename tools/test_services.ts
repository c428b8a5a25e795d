import { makePki } from "../src/demo/pki.ts";
import { isInstalled } from "../tests/support/programs.ts";
import { startPostgres } from "../tests/support/postgres.ts";
import { startRabbitmq } from "../tests/support/rabbitmq.ts";
import { composeServices, type SharedServices } from "./test_compose.ts";

/**
 * Starts a private RabbitMQ and a private PostgreSQL; where they are not installed but a Docker engine is, those of compose.yml.
 *
 * @param logDir Gets their logs when they are stopped.
 * @param say Tells people what happens.
 */
export async function sharedServices(logDir: string, say: (text: string) => void): Promise<SharedServices> {
  const stack = new AsyncDisposableStack();
  try {
    const env: Record<string, string> = {
      PIXL_TEST_PKI: JSON.stringify(await makePki({ hosts: ["localhost", "127.0.0.1"] })),
    };
    if (isInstalled("rabbitmq") && isInstalled("postgresql")) {
      const started = performance.now();
      const [rabbitmq, postgres] = await Promise.all([startRabbitmq(), startPostgres()]);
      stack.use(rabbitmq);
      stack.use(postgres);
      // What the servers wrote is searched for identifiers too.
      stack.defer(async () => {
        await Deno.writeTextFile(`${logDir}/postgresql.log`, postgres.log());
        await Deno.copyFile(`${rabbitmq.dir}/log/rabbit.log`, `${logDir}/rabbitmq.log`);
      });
      env.PIXL_TEST_RABBITMQ = JSON.stringify(rabbitmq);
      env.PIXL_TEST_POSTGRES = JSON.stringify(postgres);
      say(`RabbitMQ and PostgreSQL started in ${Math.round((performance.now() - started) / 1_000)} s`);
    } else {
      const compose = await composeServices(say);
      if (compose !== undefined) Object.assign(env, stack.use(compose).env);
    }
    const services = stack.move();
    return { env, [Symbol.asyncDispose]: () => services.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}
