import { assertEquals } from "@std/assert";
import { join } from "node:path";
import postgres from "postgres";
import { hashFile, listFiles } from "../../src/demo/files.ts";
import type { FtpsServer } from "../support/ftps.ts";
import { fixtureTest } from "../support/fixtures.ts";
import { pixlJson } from "../support/pixl.ts";
import { startProftpd } from "../support/proftpd.ts";
import { isAvailable, type ProgramName, testWith } from "../support/programs.ts";
import { useSharedRabbitmq } from "../support/rabbitmq.ts";
import { openSite, type Site } from "../support/site.ts";
import { startVsftpd } from "../support/vsftpd.ts";

useSharedRabbitmq();

interface Populated {
  readonly studies: number;
  readonly published: Readonly<Record<string, number>>;
  readonly project: string;
  readonly extract: string;
}
interface Consumed {
  readonly queues: Readonly<Record<string, { readonly done: number; readonly dead: number }>>;
}
interface Exported {
  readonly parquetFiles: number;
  readonly reportRows: number;
  readonly missingReports: number;
}
interface Uploaded {
  readonly sent: number;
  readonly verified: number;
}
interface Status {
  readonly queues: readonly {
    readonly queue: string;
    readonly ready: number;
    readonly delayed: number;
    readonly dead: number;
  }[];
  readonly projects: readonly { readonly kind: string; readonly state: string; readonly count: number }[];
}

/** The whole job through separate processes, twice. @returns How many studies there were. */
async function mainJob(site: Site, ftps: FtpsServer): Promise<number> {
  const handlers = ["pacs", "ehr"].map((queue) => `${queue}=${site.hospital.urls[queue as "pacs" | "ehr"]}`);
  const consume = ["consume", "pacs", "ehr", "--handler", ...handlers, "--rate", "200", "--until-empty"];
  const run = async () => {
    await pixlJson(["migrate"], site);
    return {
      populated: await pixlJson<Populated>(["populate", site.extractDir], site),
      consumed: await pixlJson<Consumed>(consume, site),
      exported: await pixlJson<Exported>(["export", site.extractDir], site),
      images: await pixlJson<Uploaded>(["upload", "images"], site),
      parquet: await pixlJson<Uploaded>(["upload", "parquet"], site),
    };
  };

  const first = await run();
  const { studies } = first.populated;
  assertEquals(first.populated.published, { pacs: studies, ehr: studies });
  for (const queue of ["pacs", "ehr"]) {
    const { done, dead } = first.consumed.queues[queue] ?? { done: 0, dead: 0 };
    assertEquals([queue, done, dead], [queue, studies, 0]);
  }
  assertEquals([first.exported.reportRows, first.exported.missingReports], [studies, 0]);
  assertEquals([first.images.sent, first.images.verified], [studies, studies]);
  // The manifest goes too.
  const files = first.exported.parquetFiles + 1;
  assertEquals([first.parquet.sent, first.parquet.verified], [files, files]);
  await compareTrees(site, ftps, first.populated);
  const status = await pixlJson<Status>(["status"], site);
  assertEquals(status.projects.map(({ kind, state, count }) => [kind, state, count]), [
    ["image", "exported", studies],
    ["report", "done", studies],
  ]);
  assertEquals(status.queues.map(({ queue, ready, delayed, dead }) => [queue, ready, delayed, dead]), [
    ["pacs", 0, 0, 0],
    ["ehr", 0, 0, 0],
  ]);

  assertEquals(await exportedAt(site), { exported: studies, without: 0 });

  const second = await run();
  assertEquals(second.populated.published, { pacs: 0, ehr: 0 });
  assertEquals([second.images.sent, second.parquet.sent], [0, 0]);
  await compareTrees(site, ftps, first.populated);
  return studies;
}

/** Asks the database itself. */
async function exportedAt({ env }: Site): Promise<unknown> {
  const sql = postgres({
    host: env.PIXL_DB_HOST ?? "",
    port: Number(env.PIXL_DB_PORT),
    database: env.PIXL_DB_NAME ?? "",
    user: env.PIXL_DB_USER ?? "",
    password: env.PIXL_DB_PASSWORD ?? "",
    max: 1,
  });
  try {
    const [row] = await sql`
      select count(exported_at)::int as exported, count(*) filter (where exported_at is null)::int as without
      from pixl_pipeline.image`;
    return { ...row };
  } finally {
    await sql.end();
  }
}

/** Every file on the server equals its source byte for byte, and every source is there. */
async function compareTrees(site: Site, ftps: FtpsServer, { project, extract }: Populated): Promise<void> {
  const exportOf = join(site.exportDir, project, "all_extracts", extract);
  const expected = new Map<string, string>();
  for (const zip of await listFiles(site.imageDir)) expected.set(`${project}/${zip}`, join(site.imageDir, zip));
  for (const file of (await listFiles(exportOf)).filter((path) => /\.parquet$|^manifest\.json$/.test(path))) {
    expected.set(`${project}/${extract}/parquet/${file}`, join(exportOf, file));
  }
  assertEquals(await listFiles(ftps.files), [...expected.keys()].sort());
  for (const [path, source] of expected) {
    assertEquals(await hashFile(join(ftps.files, path)), await hashFile(source), path);
  }
}

const PROGRAMS: readonly ProgramName[] = ["rabbitmq", "postgresql", "vsftpd"];

const SERVERS = [
  { program: "vsftpd", mode: "implicit", start: startVsftpd },
  { program: "proftpd", mode: "explicit", start: startProftpd },
] as const;

for (const { program, mode, start } of SERVERS) {
  const needs: ProgramName[] = ["rabbitmq", "postgresql", program];
  testWith(
    needs,
    `The main job through pixl: RabbitMQ, PostgreSQL, ${program} (${mode}); run again, nothing is sent`,
    async () => {
      await using ftps = await start({ mode });
      await using site = await openSite({ ftps });
      assertEquals(await mainJob(site, ftps), 40);
    },
  );
}

// Where a Docker engine stands in for what is not installed.
const compose = Deno.env.get("PIXL_TEST_FTPS");
if (compose !== undefined) {
  Deno.test("The main job through pixl: the services of compose.yml", async () => {
    const ftps: FtpsServer = { ...JSON.parse(compose), [Symbol.asyncDispose]: () => Promise.resolve() };
    await using site = await openSite({ ftps });
    assertEquals(await mainJob(site, ftps), 40);
  });
}

if (PROGRAMS.every(isAvailable)) {
  await fixtureTest("The main job on an extract of OMOP ES: exactly its two studies", "omop-es", async (extractDir) => {
    await using ftps = await startVsftpd({ mode: "implicit" });
    await using site = await openSite({ ftps, extractDir });
    assertEquals(await mainJob(site, ftps), 2);
  });
}
