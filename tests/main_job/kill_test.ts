import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { join } from "node:path";
import { hashFile, listFiles } from "../../src/demo/files.ts";
import type { FtpsServer } from "../support/ftps.ts";
import { pixl, pixlJson, startPixl } from "../support/pixl.ts";
import { testWith } from "../support/programs.ts";
import { startReceiver } from "../support/receiver.ts";
import { useSharedRabbitmq } from "../support/rabbitmq.ts";
import { openSite, type Site } from "../support/site.ts";
import { until } from "../support/until.ts";

const STUDIES = 60;

interface Status {
  readonly projects: readonly { readonly kind: string; readonly state: string; readonly count: number }[];
}

/** Populates, kills a consumer in the middle, starts another, uploads, and compares what arrived. */
async function survivesKill(site: Site, ftps: FtpsServer): Promise<void> {
  await pixlJson(["migrate"], site);
  await pixlJson(["populate", site.extractDir], site);
  const consume = ["consume", "pacs", "--handler", String(site.hospital.urls.pacs), "--rate", "40", "--until-empty"];

  const victim = await startPixl(consume, site);
  await until("a third of the studies are imaged", async () => (await listFiles(site.imageDir)).length >= STUDIES / 3);
  victim.kill("SIGKILL");
  await victim.finished;
  const imaged = (await listFiles(site.imageDir)).filter((path) => path.endsWith(".zip")).length;
  assertGreater(imaged, 0);
  assertLess(imaged, STUDIES);

  const { code, stderr } = await pixl(consume, site);
  assertEquals([code, code === 0 ? "" : stderr], [0, ""]);
  const uploaded = await pixlJson<{ sent: number }>(["upload", "images"], site);

  assertEquals(uploaded.sent, STUDIES);
  const { projects } = await pixlJson<Status>(["status"], site);
  assertEquals(projects.filter(({ kind }) => kind === "image").map(({ state, count }) => [state, count]), [[
    "exported",
    STUDIES,
  ]]);
  const zips = (await listFiles(site.imageDir)).filter((path) => path.endsWith(".zip"));
  const arrived = await listFiles(ftps.files);
  assertEquals(arrived.map((path) => path.split("/").at(-1)), zips);
  for (const path of arrived) {
    assertEquals(
      await hashFile(join(ftps.files, path)),
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
    await using ftps = await startReceiver({ mode: "implicit" });
    await using site = await openSite({ studies: STUDIES, ftps });
    await survivesKill(site, ftps);
  },
);

Deno.test("A consumer killed in the middle loses nothing and sends nothing twice: embedded", async () => {
  await using ftps = await startReceiver({ mode: "implicit" });
  await using site = await openSite({ studies: STUDIES, embedded: true, ftps });
  await survivesKill(site, ftps);
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
