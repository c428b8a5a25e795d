import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { type Database, migrate, openDatabase } from "@pixl/core/database";
import { hashFile, listFiles } from "../../src/demo/files.ts";
import type { FtpsServer } from "../support/ftps.ts";
import { fromFileUrl } from "../support/paths.ts";
import { testWith } from "../support/programs.ts";
import { startReceiver } from "../support/receiver.ts";
import { useSharedRabbitmq } from "../support/rabbitmq.ts";
import { openSite, type Site } from "../support/site.ts";

useSharedRabbitmq();

const STUDIES = 3;
const CHILD = fromFileUrl(new URL("kill_points_child.ts", import.meta.url));

/** Every step between what was asked for and what has left, in order; the second study's, where there is one for each. */
const POINTS = [
  "before registerExtract 1",
  "after registerExtract 1",
  "after registerStudies 1",
  "before publish 1",
  "after publish 1",
  "after markPublished 1",
  "after subscribe 1",
  "before claim 2",
  "after claim 2",
  "after ask 2",
  "before recordPseudonym 2",
  "after recordPseudonym 2",
  "after complete 2",
  "before put 2",
  "after put 2",
  "before recordImageExported 2",
  "after recordImageExported 2",
];

/** Does the job. @returns Whether it got to the end. */
async function run(site: Site, point: string): Promise<boolean> {
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", CHILD, site.extractDir, site.imageDir, String(site.hospital.urls.pacs), point],
    env: { ...site.env, PIXL_RATE: "100", PIXL_RATE_CAPACITY: "10" },
  }).output();
  const finished = new TextDecoder().decode(stdout) === "finished";
  if (!finished && point === "never") throw new Error(new TextDecoder().decode(stderr));
  return finished;
}

function openLedger({ env }: Site): Promise<Database> {
  return openDatabase({
    kind: "postgres",
    host: env.PIXL_DB_HOST ?? "",
    port: Number(env.PIXL_DB_PORT),
    database: env.PIXL_DB_NAME ?? "",
    user: env.PIXL_DB_USER ?? "",
    password: env.PIXL_DB_PASSWORD ?? "",
    tls: false,
  });
}

/** What the ledger says of the images, by pseudonym. */
async function ledgerOf(site: Site): Promise<Map<string, { readonly state: string; readonly sha256: string | null }>> {
  await using database = await openLedger(site);
  const rows = await database.sql<{ pseudo_study_uid: string; state: string; sha256: string | null }[]>`
    select i.pseudo_study_uid, i.state, t.sha256
    from pixl_pipeline.image i left join pixl_pipeline.transfer t using (image_id) where i.pseudo_study_uid is not null`;
  return new Map(rows.map(({ pseudo_study_uid, ...row }) => [pseudo_study_uid, row]));
}

/** Nothing is marked exported that did not arrive whole; nothing has arrived that the ledger does not know. */
async function assertAgree(site: Site, ftps: FtpsServer): Promise<number> {
  const images = await ledgerOf(site);
  const arrived = (await listFiles(ftps.files)).filter((path) => path.endsWith(".zip"));
  const pseudonymOf = (path: string) => path.split("/").at(-1)?.replace(/\.zip$/, "") ?? "";
  for (const path of arrived) {
    const pseudonym = pseudonymOf(path);
    assert(images.has(pseudonym), `${path} arrived and cannot be found`);
    assertEquals(await hashFile(join(ftps.files, path)), await hashFile(join(site.imageDir, `${pseudonym}.zip`)), path);
  }
  const exported = [...images].filter(([, { state }]) => state === "exported");
  for (const [pseudonym, { sha256 }] of exported) {
    const path = arrived.find((path) => pseudonymOf(path) === pseudonym);
    assert(path !== undefined, `${pseudonym} is marked exported and has not arrived`);
    assertEquals(sha256, await hashFile(join(ftps.files, path)));
  }
  return exported.length;
}

/** Kills the job at a point, looks, and lets it finish. */
async function survive(point: string): Promise<void> {
  await using ftps = await startReceiver({ mode: "implicit" });
  await using site = await openSite({ studies: STUDIES, ftps, hospital: { faults: { busy: 1_000, broken: 1_000 } } });
  {
    await using database = await openLedger(site);
    await migrate(database);
  }

  assertEquals(await run(site, point), false);
  await assertAgree(site, ftps);

  assertEquals(await run(site, "never"), true);
  assertEquals(await assertAgree(site, ftps), STUDIES);
  assertEquals((await listFiles(ftps.files)).length, STUDIES);
}

testWith(
  ["rabbitmq", "postgresql"],
  `Killed at any of ${POINTS.length} points the job leaves states and files that agree, and the next run finishes it`,
  async () => {
    // Several at a time: after some of them the next run has to wait for a lease to run out.
    const points = [...POINTS];
    await Promise.all(Array.from({ length: 4 }, async () => {
      for (let point = points.pop(); point !== undefined; point = points.pop()) {
        await survive(point).catch((cause) => {
          throw new Error(`Killed ${point}`, { cause });
        });
      }
    }));
  },
);
