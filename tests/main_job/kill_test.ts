import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { join } from "node:path";
import { hashFile, listFiles } from "../../src/demo/files.ts";
import { FtpsReceiver } from "../../src/demo/ftps_receiver/mod.ts";
import { pixl, pixlJson, startPixl } from "../support/pixl.ts";
import { sharedPki } from "../support/pki.ts";
import { testWith } from "../support/programs.ts";
import { useSharedRabbitmq } from "../support/rabbitmq.ts";
import { openSite, type Site } from "../support/site.ts";
import { until } from "../support/until.ts";

const STUDIES = 60;

interface Status {
  readonly projects: readonly { readonly kind: string; readonly state: string; readonly count: number }[];
}

/** Populates, kills a consumer in the middle, starts another, uploads, and compares what arrived. */
async function survivesKill(site: Site): Promise<void> {
  const received = join(site.dir, "dsh");
  await Deno.mkdir(received);
  const pki = sharedPki();
  const password = `PWSEED-${crypto.randomUUID()}`;
  await using receiver = await FtpsReceiver.listen({
    root: received,
    user: "dsh",
    password,
    certPem: pki.certPem,
    keyPem: pki.keyPem,
    mode: "implicit",
  });
  const ca = join(site.dir, "ca.pem");
  await Deno.writeTextFile(ca, pki.caPem);
  const run = {
    cwd: site.cwd,
    env: {
      ...site.env,
      FTP_HOST: "127.0.0.1",
      FTP_PORT: String(receiver.port),
      FTP_USER_NAME: "dsh",
      FTP_USER_PASSWORD: password,
      FTP_CA_FILE: ca,
    },
  };
  await pixlJson(["migrate"], run);
  await pixlJson(["populate", site.extractDir], run);
  const consume = ["consume", "pacs", "--handler", String(site.hospital.urls.pacs), "--rate", "40", "--until-empty"];

  const victim = await startPixl(consume, run);
  await until("a third of the studies are imaged", async () => (await listFiles(site.imageDir)).length >= STUDIES / 3);
  victim.kill("SIGKILL");
  await victim.finished;
  const imaged = (await listFiles(site.imageDir)).filter((path) => path.endsWith(".zip")).length;
  assertGreater(imaged, 0);
  assertLess(imaged, STUDIES);

  const { code, stderr } = await pixl(consume, run);
  assertEquals([code, code === 0 ? "" : stderr], [0, ""]);
  const uploaded = await pixlJson<{ sent: number }>(["upload", "images"], run);

  assertEquals(uploaded.sent, STUDIES);
  const { projects } = await pixlJson<Status>(["status"], run);
  assertEquals(projects.filter(({ kind }) => kind === "image").map(({ state, count }) => [state, count]), [[
    "exported",
    STUDIES,
  ]]);
  const zips = (await listFiles(site.imageDir)).filter((path) => path.endsWith(".zip"));
  const arrived = await listFiles(received);
  assertEquals(arrived.map((path) => path.split("/").at(-1)), zips);
  for (const path of arrived) {
    assertEquals(
      await hashFile(join(received, path)),
      await hashFile(join(site.imageDir, path.split("/").at(-1) ?? "")),
      path,
    );
  }
}

useSharedRabbitmq();

testWith(
  ["rabbitmq", "postgresql"],
  "A consumer killed in the middle loses nothing and sends nothing twice: RabbitMQ and PostgreSQL",
  async () => {
    await using site = await openSite({ studies: STUDIES });
    await survivesKill(site);
  },
);

Deno.test("A consumer killed in the middle loses nothing and sends nothing twice: embedded", async () => {
  await using site = await openSite({ studies: STUDIES, embedded: true });
  await survivesKill(site);
});

for (const [signal, exit] of [["SIGTERM", 0], ["SIGINT", 130]] as const) {
  Deno.test(`A consumer stopped with ${signal} finishes what is in hand and exits with ${exit}`, async () => {
    await using site = await openSite({ studies: STUDIES, embedded: true });
    await pixlJson(["migrate"], site);
    await pixlJson(["populate", site.extractDir], site);
    const consume = ["consume", "pacs", "--handler", String(site.hospital.urls.pacs), "--rate", "40", "--json"];
    const running = await startPixl(consume, site);
    await until("some studies are imaged", async () => (await listFiles(site.imageDir)).length >= 10);

    running.kill(signal);
    const { code, stdout, stderr } = await running.finished;

    assertEquals([code, code === exit ? "" : stderr], [exit, ""]);
    const { queues } = JSON.parse(stdout);
    const { projects } = await pixlJson<Status>(["status"], site);
    const states = Object.fromEntries(
      projects.filter(({ kind }) => kind === "image").map(({ state, count }) => [state, count]),
    );
    assertEquals(states, { done: queues.pacs.done, queued: STUDIES - queues.pacs.done });
  });
}
