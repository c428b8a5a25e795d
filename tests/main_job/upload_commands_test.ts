import { assertEquals, assertMatch, assertNotMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { listFiles } from "../../src/demo/files.ts";
import { pixl, pixlJson, startPixl } from "../support/pixl.ts";
import { startReceiver } from "../support/receiver.ts";
import { openSite, type Site } from "../support/site.ts";
import { until } from "../support/until.ts";

interface Result {
  readonly sent: number;
  readonly verified: number;
  readonly failed: readonly { readonly path: string }[];
}

interface Plan {
  readonly files: readonly { readonly path: string; readonly why: string; readonly send: boolean }[];
  readonly failed: readonly { readonly path: string }[];
}

interface Check {
  readonly agreed: number;
  readonly disagreements: readonly { side: string; problem: string; path: string; repaired: boolean }[];
}

const STUDIES = 6;

/** Everything is done and exported, nothing is sent. */
async function prepare(site: Site): Promise<string[]> {
  await pixlJson(["populate", site.extractDir], site);
  const handler = ["--handler", `pacs=${site.hospital.urls.pacs}`, `ehr=${site.hospital.urls.ehr}`];
  await pixlJson(["consume", "pacs", "ehr", ...handler, "--rate", "1000", "--until-empty"], site);
  await pixlJson(["export", site.extractDir], site);
  return (await listFiles(site.imageDir)).filter((name) => name.endsWith(".zip")).sort();
}

Deno.test("pixl upload and check: what is planned is sent, what is sent is agreed on, what is lost is sent again", async () => {
  await using ftps = await startReceiver({ mode: "implicit" });
  await using site = await openSite({ studies: STUDIES, embedded: true, ftps: { ...ftps, mode: "implicit" } });
  const zips = await prepare(site);
  const [project = ""] = (await listFiles(site.exportDir)).map((path) => path.split("/")[0]);

  const plan = await pixlJson<Plan>(["upload", "images", "--dry-run"], site);
  assertEquals(
    plan.files.map(({ path, why, send }) => [path, why, send]).sort(),
    zips.map((zip) => [`${project}/${zip}`, "not there", true]),
  );
  assertEquals(await listFiles(ftps.files), []);

  assertEquals((await pixlJson<Result>(["upload", "images", "--connections", "3"], site)).sent, STUDIES);
  assertEquals((await pixlJson<Result>(["upload", "images"], site)).sent, 0);
  const sent = await pixlJson<Result>(["upload", "parquet", "--max-bytes-per-second", "10000000"], site);
  for (const zip of zips) {
    assertEquals(await Deno.readFile(join(ftps.files, project, zip)), await Deno.readFile(join(site.imageDir, zip)));
  }
  const whole = await pixlJson<Check>(["check", project], site);
  assertEquals([whole.agreed, whole.disagreements], [STUDIES + sent.sent, []]);

  const [kept = "", lost = "", gone = "", cut = ""] = zips.map((zip) => `${project}/${zip}`);
  await Deno.remove(join(ftps.files, lost));
  await Deno.remove(join(ftps.files, gone));
  await Deno.remove(join(site.imageDir, gone.slice(project.length + 1)));
  await Deno.truncate(join(ftps.files, cut), 10);
  await Deno.writeTextFile(join(ftps.files, project, "stranger.zip"), "x");
  await Deno.writeTextFile(join(ftps.files, project, `.${kept.slice(project.length + 1)}.part`), "x");
  const look = await pixl(["check", project, "--json"], site);
  assertEquals(look.code, 6);
  const found = (JSON.parse(look.stdout) as Check).disagreements;
  assertEquals(
    found.map(({ side, problem, path, repaired }) => [side, problem, path, repaired]).sort(),
    [
      ["dsh", "missing", lost, false],
      ["dsh", "missing", gone, false],
      ["dsh", "different", cut, false],
      ["dsh", "extra", `${project}/stranger.zip`, false],
      ["dsh", "unfinished", `${project}/.${kept.slice(project.length + 1)}.part`, false],
    ].sort(),
  );

  assertEquals((await pixl(["check", project, "--repair"], site)).code, 6);
  assertEquals((await pixlJson<Result>(["upload", "images"], site)).sent, 1);
  assertEquals(
    await Deno.readFile(join(ftps.files, lost)),
    await Deno.readFile(join(site.imageDir, lost.slice(project.length + 1))),
  );
  const after = (JSON.parse((await pixl(["check", project, "--json"], site)).stdout) as Check).disagreements;
  assertEquals(after.filter(({ path }) => path === lost || path === gone), []);
});

Deno.test("pixl upload images DIR… sends zips of done studies, names the others, and puts into a folder", async () => {
  await using site = await openSite({ studies: STUDIES, embedded: true });
  const share = join(site.dir, "share");
  await Deno.mkdir(share);
  const env = { ...site.env, PIXL_UPLOAD_DIR: share };
  const zips = await prepare(site);
  const [one, two] = [join(site.dir, "one"), join(site.dir, "two")];
  for (const dir of [one, two]) await Deno.mkdir(dir);
  for (const [at, zip] of zips.entries()) {
    if (at > 0) await Deno.rename(join(site.imageDir, zip), join(at % 2 === 0 ? one : two, zip));
  }
  await Deno.writeTextFile(join(one, "nobody.zip"), "x");
  await Deno.writeTextFile(join(one, "readme.txt"), "x");

  const run = await pixl(["upload", "images", one, two, "--json"], { ...site, env });

  assertEquals(run.code, 6);
  const result = JSON.parse(run.stdout) as Result;
  assertEquals([result.sent, result.failed.map(({ path }) => path)], [STUDIES - 1, [one]]);
  assertStringIncludes(run.stderr, "the ledger knows no study of such a pseudonym");
  assertNotMatch(run.stderr + run.stdout, /nobody/);
  assertEquals((await listFiles(share)).filter((path) => path.endsWith(".zip")).length, STUDIES - 1);
  assertEquals((await pixl(["upload", "images", join(site.dir, "nothing")], { ...site, env })).code, 3);
  assertEquals((await pixl(["upload", "parquet", one], { ...site, env })).code, 2);

  await Deno.rename(share, `${share}-unmounted`);
  await Deno.mkdir(share);
  const unmounted = await pixl(["upload", "images", one], { ...site, env });
  assertEquals(unmounted.code, 4);
  assertStringIncludes(unmounted.stderr, "mount the share");
});

Deno.test("pixl upload images --watch sends zips as they are finished, ignores growing ones, and ends well at SIGTERM", async () => {
  await using ftps = await startReceiver({ mode: "explicit" });
  await using site = await openSite({ studies: 3, embedded: true, ftps: { ...ftps, mode: "explicit" } });
  const [first = "", second = "", third = ""] = await prepare(site);
  const inbox = join(site.dir, "inbox");
  await Deno.mkdir(inbox);
  const growing = await Deno.readFile(join(site.imageDir, second));
  await Deno.copyFile(join(site.imageDir, first), join(inbox, first));
  await Deno.writeFile(join(inbox, second), growing.subarray(0, growing.length - 10));
  const watcher = await startPixl(["upload", "images", inbox, "--watch", "--interval", "0.2", "--json"], site);
  const arrived = async () => (await listFiles(ftps.files)).map((path) => path.split("/").at(-1)).sort();

  await until("the first is there", async () => (await arrived()).includes(first));
  await Deno.copyFile(join(site.imageDir, third), join(inbox, third));
  await until("the third is there", async () => (await arrived()).includes(third));
  assertEquals(await arrived(), [first, third].sort()); // the second has stayed the same all the while, but has no end
  await Deno.writeFile(join(inbox, second), growing);
  await until("the second is there", async () => (await arrived()).includes(second));
  watcher.kill("SIGTERM");

  const run = await watcher.finished;
  assertEquals(run.code, 0);
  assertEquals((JSON.parse(run.stdout) as Result).sent, 3);
  assertMatch(run.stderr, /3 sent/);
});
