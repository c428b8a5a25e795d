import { assertEquals, assertStringIncludes } from "@std/assert";
import { pixl, pixlJson } from "../support/pixl.ts";
import { startReceiver } from "../support/receiver.ts";
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
  assertEquals(await pixlJson(["rate", "pacs"], site), { queue: "pacs", rate: 0, capacity: 5, set: true });
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
  await using ftps = await startReceiver({ mode: "implicit" });
  await using site = await openSite({ studies: 2, embedded: true, ftps });
  await pixlJson(["populate", site.extractDir], site);
  assertEquals((await pixl(["export", site.extractDir], site)).code, 6);
  await pixlJson(["upload", "parquet"], site);
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
  ], site);
  await pixlJson(["export", site.extractDir, "--replace"], site);
  const refused = await pixl(["upload", "parquet"], site);
  assertEquals(refused.code, 6);
  assertStringIncludes(refused.stderr, "radiology.parquet");

  const replaced = await pixlJson<{ sent: number; failed: unknown[] }>(["upload", "parquet", "--replace"], site);

  // The reports, and the manifest that names them.
  assertEquals([replaced.sent, replaced.failed], [2, []]);
});
