import { assert, assertEquals, assertMatch, assertNotMatch, assertStringIncludes } from "@std/assert";
import type { Extract, StudyHistory } from "@pixl/core/database";
import { pixl, pixlJson } from "../support/pixl.ts";
import { testWith } from "../support/programs.ts";
import { useSharedRabbitmq } from "../support/rabbitmq.ts";
import { openSite } from "../support/site.ts";

useSharedRabbitmq();

const REASON = "the service answered with status 404";

interface Asked {
  readonly accession_number: string;
}

/** A service that does not know some of the studies, until it is mended. */
function startService() {
  const asked: Asked[] = [];
  const service = { asked, mended: false };
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
    const study = await request.json() as Asked;
    asked.push(study);
    const nth = new Set(asked.map(({ accession_number }) => accession_number)).size;
    if (!service.mended && nth <= 2) return new Response(null, { status: 404 });
    return Response.json({ pseudo_study_uid: `2.25.${1_000 + asked.length}`, image_report: "Report" });
  });
  return {
    service,
    url: `http://127.0.0.1:${server.addr.port}/study`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

testWith(
  ["rabbitmq", "postgresql"],
  "pixl report, history and retry: what failed and why, what became of one study, and again exactly what is missing",
  async () => {
    await using site = await openSite({ studies: 6 });
    await using running = startService();
    const { service, url } = running;
    await pixlJson(["migrate"], site);
    const { project } = await pixlJson<{ project: string }>(["populate", site.extractDir, "--queues", "pacs"], site);
    const consume = ["consume", "pacs", "--handler", url, "--until-empty"];
    await pixlJson(["rate", "pacs", "100", "--capacity", "10"], site);
    assertEquals((await pixl(consume, site)).code, 6);

    const report = await pixlJson<{ extracts: Extract[]; failures: unknown }>(["report", project], site);
    assertEquals(report.extracts.map(({ layout, studies }) => [layout, studies]), [["public/X.parquet", 6]]);
    assertEquals(report.failures, [{ kind: "image", reason: REASON, count: 2 }]);
    const csv = await pixl(["report", project, "--csv"], site);
    assertEquals(csv.stdout.trimEnd().split("\r\n"), [
      "fact,of,which,count,bytes",
      `extract,public/X.parquet,${report.extracts[0]?.extractTime},6,`,
      ...Object.entries(report.extracts[0]?.leftOut ?? {}).filter(([, count]) => count > 0)
        .map(([reason, count]) => `left out,${reason},${report.extracts[0]?.extractTime},${count},`),
      "state,image,done,4,",
      "state,image,failed,2,",
      "state,report,queued,6,",
      "failure,image,the service answered with status 404,2,",
    ]);

    const [failed] = service.asked;
    assert(failed !== undefined);
    const before = await pixlJson<{ studies: StudyHistory[] }>(["history", failed.accession_number], site);
    assertEquals(before.studies.map(({ state, lastError }) => [state, lastError]), [["failed", REASON]]);

    service.mended = true;
    service.asked.length = 0;
    assertEquals(
      await pixlJson(["retry", project, "--failed", "--queues", "pacs"], site),
      { project, published: { pacs: 2 }, dropped: { pacs: 2 } },
    );
    assertEquals((await pixl(consume, site)).code, 0);
    assertEquals(service.asked.length, 2);
    assertEquals(await pixlJson(["retry", project, "--unfinished", "--queues", "pacs"], site), {
      project,
      published: { pacs: 0 },
      dropped: { pacs: 0 },
    });

    const after = await pixl(["history", failed.accession_number], site);
    assertMatch(after.stderr, /study of \d{4}-\d\d-\d\d: images done after 2 attempts/);
    assertEquals(after.stderr.match(/image published/g)?.length, 2);
    assertMatch(after.stderr, /image failed +the service answered with status 404/);
    assertNotMatch(after.stderr, /MRN/);
  },
);

testWith("postgresql", "pixl history, report and retry say so when they do not know a study or a project", async () => {
  await using site = await openSite({ studies: 2 });
  await pixlJson(["migrate"], site);
  const unknown = await pixl(["history", "ACCSEEDunknown"], site);
  assertEquals(unknown.code, 3);
  assertNotMatch(unknown.stderr, /ACCSEED/);
  const report = await pixl(["report", "nowhere"], site);
  assertEquals(report.code, 3);
  assertStringIncludes(report.stderr, "pixl status");
  assertEquals((await pixl(["report", "nowhere", "--csv", "--json"], site)).code, 2);
});

testWith("postgresql", "pixl migrate --dry-run prints the SQL and changes nothing", async () => {
  await using site = await openSite({ studies: 2 });
  const dry = await pixl(["migrate", "--dry-run"], site);
  assertEquals(dry.code, 0);
  assertMatch(dry.stdout, /^create schema if not exists pixl_pipeline;\n-- 0001_ledger\n/);
  assertStringIncludes(dry.stdout, "add constraint image_is_one_study");
  const { applied } = await pixlJson<{ applied: string[] }>(["migrate"], site);
  assertEquals(applied[0], "0001_ledger");
  assertEquals((await pixl(["migrate", "--dry-run"], site)).stdout, "");
});
