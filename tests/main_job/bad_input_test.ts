import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { listFiles } from "../../src/demo/files.ts";
import { makePki } from "../../src/demo/pki.ts";
import { fromFileUrl } from "../support/paths.ts";
import { pixl, pixlJson, type PixlOptions } from "../support/pixl.ts";
import { freePort } from "../support/ports.ts";
import { testWith } from "../support/programs.ts";
import { startReceiver } from "../support/receiver.ts";
import { useSharedRabbitmq } from "../support/rabbitmq.ts";
import { openSite, type Site } from "../support/site.ts";

useSharedRabbitmq();

/** Runs `pixl` and expects one line that names what is wrong, the exit code, and no stack trace. */
async function fails(args: readonly string[], options: PixlOptions, code: number, ...words: string[]): Promise<void> {
  const run = await pixl(args, options);
  const lines = run.stderr.trimEnd().split("\n").filter((line) => !/^[✓✗] |^ {2}/.test(line));
  assertEquals([run.code, lines.length], [code, 1], run.stderr);
  const [line = ""] = lines;
  assertEquals(line.startsWith("pixl: "), true, line);
  for (const word of words) assertStringIncludes(line, word);
  assertEquals(run.stdout, "");
}

/** A site whose extract is spoilt before it is populated. */
async function spoilt(spoil: (dir: string) => Promise<void>, ...words: string[]): Promise<void> {
  await using site = await openSite({ studies: 3, embedded: true });
  await spoil(site.extractDir);
  await fails(["populate", site.extractDir], site, 3, ...words);
}

Deno.test("pixl populate names a missing extract_summary.json", () =>
  spoilt((dir) => Deno.remove(join(dir, "extract_summary.json")), "extract_summary.json"));

Deno.test("pixl populate names a missing table", () =>
  spoilt((dir) => Deno.remove(join(dir, "private", "PERSON_LINKS.parquet")), "PERSON_LINKS"));

Deno.test("pixl populate names a truncated parquet file", () =>
  spoilt(async (dir) => {
    const path = join(dir, "private", "PROCEDURE_OCCURRENCE_LINKS.parquet");
    await Deno.truncate(path, (await Deno.stat(path)).size - 20);
  }, "PROCEDURE_OCCURRENCE_LINKS.parquet"));

Deno.test("pixl populate names a missing column", () =>
  spoilt(
    async (dir) => {
      const [people, links] = ["PERSON_LINKS", "PROCEDURE_OCCURRENCE_LINKS"].map((name) =>
        join(dir, "private", `${name}.parquet`)
      );
      await Deno.copyFile(links ?? "", people ?? "");
    },
    "PERSON_LINKS",
    "person_id",
  ));

Deno.test("pixl populate refuses a project name that leaves no folder name", () =>
  spoilt(async (dir) => {
    const path = join(dir, "extract_summary.json");
    const summary = JSON.parse(await Deno.readTextFile(path));
    summary.settings.cdm_source_name = "..";
    await Deno.writeTextFile(path, JSON.stringify(summary));
  }, "'..'"));

Deno.test("pixl populate names a folder that is not there", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  await fails(["populate", "/nowhere/extract"], site, 3, "/nowhere/extract");
});

Deno.test("pixl names a database server out of reach", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  const port = String(freePort());
  const { PIXL_DATA_DIR: _, ...rest } = site.env;
  const env = {
    ...rest,
    PIXL_DB_HOST: "127.0.0.1",
    PIXL_DB_PORT: port,
    PIXL_DB_USER: "pixl",
    PIXL_DB_PASSWORD: "PWSEED",
  };
  await fails(["populate", site.extractDir], { ...site, env }, 4, `127.0.0.1:${port}`);
});

testWith("postgresql", "pixl names a wrong database password", async () => {
  await using site = await openSite({ studies: 2 });
  await fails(["migrate"], { ...site, env: { ...site.env, PIXL_DB_PASSWORD: "PWSEED wrong" } }, 5, "password");
});

testWith("postgresql", "pixl says to migrate where the tables are missing", async () => {
  await using site = await openSite({ studies: 2 });
  await fails(["populate", site.extractDir], site, 2, "pixl migrate");
});

testWith(["rabbitmq", "postgresql"], "pixl names a broker out of reach, and writes nothing", async () => {
  await using site = await openSite({ studies: 2 });
  await pixlJson(["migrate"], site);
  const port = String(freePort());
  await fails(
    ["populate", site.extractDir],
    { ...site, env: { ...site.env, RABBITMQ_PORT: port } },
    4,
    `127.0.0.1:${port}`,
  );
  const { projects } = await pixlJson<{ projects: unknown[] }>(["status"], site);
  assertEquals(projects, []);
});

testWith(["rabbitmq", "postgresql"], "pixl names a wrong broker password", async () => {
  await using site = await openSite({ studies: 2 });
  await pixlJson(["migrate"], site);
  const env = { ...site.env, RABBITMQ_PASSWORD: "PWSEED wrong" };
  await fails(["populate", site.extractDir], { ...site, env }, 5, "password");
});

/** An embedded site with one study imaged and reported, and an FTPS server. */
async function readyToUpload(site: Site): Promise<void> {
  await pixlJson(["populate", site.extractDir], site);
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
}

Deno.test("pixl upload names what the FTPS server refuses, and sends nothing", async () => {
  await using ftps = await startReceiver({ mode: "implicit" });
  await using site = await openSite({ studies: 2, embedded: true, ftps });
  await readyToUpload(site);
  const address = `${ftps.host}:${ftps.port}`;
  const uploadWith = (more: Record<string, string>): PixlOptions => ({ ...site, env: { ...site.env, ...more } });

  await fails(["upload", "images"], uploadWith({ FTP_USER_PASSWORD: "PWSEED wrong" }), 5, address, "password");
  const stranger = join(site.dir, "stranger.pem");
  await Deno.writeTextFile(stranger, (await makePki({ hosts: ["localhost"] })).caPem);
  await fails(["upload", "images"], uploadWith({ FTP_CA_FILE: stranger }), 5, address, "certificate");
  const closed = String(freePort());
  await fails(["upload", "images"], uploadWith({ FTP_PORT: closed }), 4, `${ftps.host}:${closed}`);
  assertEquals(await listFiles(ftps.files), []);
});

Deno.test("pixl upload names a zip that is missing, and sends the others", async () => {
  await using ftps = await startReceiver({ mode: "implicit" });
  await using site = await openSite({ studies: 3, embedded: true, ftps });
  await readyToUpload(site);
  const [first = ""] = await listFiles(site.imageDir);
  await Deno.remove(join(site.imageDir, first));

  await fails(["upload", "images"], site, 6, first);

  assertEquals((await listFiles(ftps.files)).length, 2);
});

Deno.test("pixl export names an export folder that is not there", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  await pixlJson(["populate", site.extractDir], site);
  const env = { ...site.env, PIXL_EXPORT_DIR: join(site.dir, "nowhere") };
  await fails(["export", site.extractDir], { ...site, env }, 5, join(site.dir, "nowhere"));
});

Deno.test("pixl export names an extract that was not populated", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  await fails(["export", site.extractDir], site, 3, "pixl populate");
});

Deno.test("pixl export says how many reports are missing, and exports the others", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  await pixlJson(["populate", site.extractDir], site);
  await fails(["export", site.extractDir], site, 6, "2 reports");
});

Deno.test("pixl consume moves a malformed message to the dead letters and goes on", async () => {
  await using site = await openSite({
    studies: 2,
    embedded: true,
    hospital: { faults: { busy: 1_000, broken: 1_000 } },
  });
  await pixlJson(["populate", site.extractDir], site);
  await publishGarbage(site);
  const run = await pixl([
    "consume",
    "pacs",
    "--handler",
    String(site.hospital.urls.pacs),
    "--rate",
    "100",
    "--until-empty",
    "--json",
  ], site);
  const { queues } = JSON.parse(run.stdout);
  assertEquals([run.code, queues.pacs.done, queues.pacs.dead], [6, 2, 1]);
});

async function publishGarbage(site: Site): Promise<void> {
  const { openDatabase } = await import("@pixl/core/database");
  const { PostgresBroker } = await import("@pixl/core/queue");
  await using database = await openDatabase({ kind: "embedded", dir: site.env.PIXL_DATA_DIR ?? "" });
  await using broker = new PostgresBroker(database.sql);
  await broker.declare("pacs");
  await broker.publish("pacs", [{ messageId: "garbage", body: new TextEncoder().encode("{nonsense") }]);
}

Deno.test("pixl says which settings are missing, all at once", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const { code, stderr } = await pixl(["upload", "images"], { env: {}, cwd: dir });
    for (const name of ["PIXL_DB_HOST", "FTP_HOST", "FTP_USER_NAME", "FTP_USER_PASSWORD"]) {
      assertStringIncludes(stderr, name);
    }
    assertEquals(code, 2);
  } finally {
    await Deno.remove(dir);
  }
});

Deno.test("pixl --help works without any configuration", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const { code, stdout } = await pixl(["--help"], { env: {}, cwd: dir });
    assertEquals(code, 0);
    for (
      const command of [
        "migrate",
        "populate",
        "consume",
        "export",
        "verify",
        "upload",
        "status",
        "rate",
        "doctor",
        "demo",
      ]
    ) {
      assertStringIncludes(stdout, command);
    }
  } finally {
    await Deno.remove(dir);
  }
});

for (
  const args of [["fly"], ["populate"], ["rate", "pacs", "NaN"], ["consume", "pacs", "--handler", "ftp://x"], [
    "upload",
    "everything",
  ]]
) {
  Deno.test(`pixl ${args.join(" ")} is a usage error`, async () => {
    const dir = await Deno.makeTempDir();
    try {
      assertEquals((await pixl(args, { env: { PIXL_DATA_DIR: join(dir, "data") }, cwd: dir })).code, 2);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}

for (
  const [what, args] of [
    ["an answer", ["permissions", "--", "doctor"]],
    ["progress", ["demo", "--studies", "5"]],
  ] as const
) {
  Deno.test(`pixl exits with 141 where nobody reads ${what}: a job that was cut off must not look done`, async () => {
    const mod = fromFileUrl(new URL("../../mod.ts", import.meta.url));
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "-A", mod, ...args],
      stdout: "piped",
      stderr: "piped",
      stdin: "null",
    }).spawn();
    await Promise.all([child.stdout.cancel(), child.stderr.cancel()]);
    assertEquals((await child.status).code, 141);
  });
}
