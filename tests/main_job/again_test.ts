import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { FtpsReceiver } from "../../src/demo/ftps_receiver/mod.ts";
import { pixl, pixlJson } from "../support/pixl.ts";
import { sharedPki } from "../support/pki.ts";
import { openSite } from "../support/site.ts";

interface Populated {
  readonly published: Readonly<Record<string, number>>;
}

Deno.test("pixl populate --again asks again for studies that failed", async () => {
  await using site = await openSite({ studies: 3, embedded: true });
  await pixlJson(["populate", site.extractDir, "--queues", "pacs"], site);
  await using broken = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response(null, { status: 404 }),
  );
  const dead = await pixl([
    "consume",
    "pacs",
    "--handler",
    `http://127.0.0.1:${broken.addr.port}/`,
    "--rate",
    "100",
    "--until-empty",
  ], site);
  assertEquals(dead.code, 6);
  const asBefore = await pixl(["populate", site.extractDir, "--queues", "pacs"], site);
  assertStringIncludes(asBefore.stderr, "3 images or reports of this project failed before");

  const again = await pixlJson<Populated>(["populate", site.extractDir, "--queues", "pacs", "--again"], site);

  assertEquals(again.published, { pacs: 3 });
  await pixlJson(["consume", "pacs", "--handler", String(site.hospital.urls.pacs), "--until-empty"], site);
  const { projects } = await pixlJson<{ projects: { kind: string; state: string; count: number }[] }>(["status"], site);
  assertEquals(projects.filter(({ kind }) => kind === "image").map(({ state, count }) => [state, count]), [[
    "done",
    3,
  ]]);
});

Deno.test("pixl consume --rate does not lift a pause", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  await pixlJson(["rate", "pacs", "0"], site);
  const url = String(site.hospital.urls.pacs);
  const { code } = await pixl(["consume", "pacs", "--handler", url, "--rate", "100", "--until-empty"], site);
  assertEquals(code, 0);
  assertEquals(await pixlJson(["rate", "pacs"], site), { queue: "pacs", rate: 0, set: true });
});

Deno.test("pixl export refuses an extract that was populated in part", async () => {
  await using site = await openSite({ studies: 3, embedded: true });
  await pixlJson(["populate", site.extractDir], site);
  // As if it were killed in the middle: the extract is there, its count is not.
  const { openDatabase } = await import("@pixl/core/database");
  {
    await using database = await openDatabase({ kind: "embedded", dir: site.env.PIXL_DATA_DIR ?? "" });
    await database.sql`update pixl_pipeline.extract set studies = null`;
  }
  const { code, stderr } = await pixl(["export", site.extractDir], site);
  assertEquals(code, 3, stderr);
  assertStringIncludes(stderr, "pixl populate");
});

Deno.test("pixl upload parquet --replace sends an export that was replaced", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  const root = join(site.dir, "dsh");
  await Deno.mkdir(root);
  const { certPem, keyPem, caPem } = sharedPki();
  const password = "PWSEED right";
  await using server = await FtpsReceiver.listen({ root, user: "dsh", password, certPem, keyPem, mode: "implicit" });
  const ca = join(site.dir, "ca.pem");
  await Deno.writeTextFile(ca, caPem);
  const env = {
    ...site.env,
    FTP_HOST: "127.0.0.1",
    FTP_PORT: String(server.port),
    FTP_USER_NAME: "dsh",
    FTP_USER_PASSWORD: password,
    FTP_CA_FILE: ca,
  };
  const run = { cwd: site.cwd, env };
  await pixlJson(["populate", site.extractDir], run);
  assertEquals((await pixl(["export", site.extractDir], run)).code, 6);
  await pixlJson(["upload", "parquet"], run);
  const { pacs, ehr } = site.hospital.urls;
  await pixlJson([
    "consume",
    "pacs",
    "ehr",
    "--handler",
    `pacs=${pacs}`,
    `ehr=${ehr}`,
    "--rate",
    "100",
    "--until-empty",
  ], run);
  await pixlJson(["export", site.extractDir, "--replace"], run);
  const refused = await pixl(["upload", "parquet"], run);
  assertEquals(refused.code, 6);
  assertStringIncludes(refused.stderr, "radiology.parquet");

  const replaced = await pixlJson<{ sent: number; failed: unknown[] }>(["upload", "parquet", "--replace"], run);

  assertEquals([replaced.sent, replaced.failed], [1, []]);
});
