import { assert, assertEquals } from "@std/assert";
import { Ledger, migrate, openDatabase } from "../../src/database/mod.ts";
import { isPartName } from "../../src/upload/mod.ts";
import { FtpsProxy } from "../support/ftps_proxy.ts";
import { freshDatabase, sharedPostgres } from "../support/postgres.ts";
import { testWith } from "../support/programs.ts";
import { startVsftpd } from "../support/vsftpd.ts";
import type { ChaosTask } from "./chaos_child.ts";
import { randomBytes, sha256 } from "./workbench.ts";

const STUDIES = 1_000;
const KILLS = 10;
const PROJECTS = ["chest", "knee"];

/** Numbers from 0 to 1 that are the same for the same seed, which a failure names. */
function numbers(seed: number): () => number {
  return () => {
    seed = (seed * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return seed / 2 ** 32;
  };
}

testWith(
  ["vsftpd", "postgresql"],
  `${STUDIES} studies arrive whole through cut connections and ${KILLS} SIGKILLs`,
  async () => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    try {
      await chaos(numbers(seed));
    } catch (error) {
      throw new Error(`With seed ${seed}`, { cause: error });
    }
  },
);

async function chaos(random: () => number): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startVsftpd({ mode: "explicit" }));
  const proxy = stack.use(new FtpsProxy(server));
  const connection = stack.use(await freshDatabase(stack.use(await sharedPostgres())));
  const database = stack.use(await openDatabase(connection));
  await migrate(database);
  const { sql } = database;
  const ledger = new Ledger(database);
  const imageDir = await Deno.makeTempDir({ prefix: "pixl-chaos-" });
  stack.defer(() => Deno.remove(imageDir, { recursive: true }));

  const hashes = new Map<string, string>();
  for (const project of PROJECTS) {
    const time = "2023-12-07T14:08:58";
    const extract = {
      project_name: project,
      project_slug: project,
      extract_time: time,
      time_slug: "2023-12-07t14-08-58",
    };
    const { extractId } = await ledger.registerExtract(extract);
    await ledger.registerStudies(
      extractId,
      Array.from({ length: STUDIES / PROJECTS.length }, (_, n) => ({
        mrn: `MRNSEED${n}`,
        accession_number: `ACCSEED${n}`,
        study_date: "2020-02-29",
        procedure_occurrence_id: n,
        project_name: project,
        extract_generated_timestamp: time,
      })),
    );
  }
  await sql`update pixl_pipeline.image set state = 'working', lease_owner = 'x', lease_until = 'infinity'`;
  await sql`
    update pixl_pipeline.image
    set state = 'done', lease_owner = null, lease_until = null, pseudo_study_uid = '2.25.' || image_id`;
  for await (const { projectSlug, pseudo_study_uid } of ledger.imagesToUpload()) {
    // A few are large enough to be resumed.
    const content = randomBytes(hashes.size % 200 === 7 ? 40_000_000 : 5_000 + Math.floor(random() * 50_000));
    content.set([0x50, 0x4b, 0x05, 0x06, ...new Uint8Array(18)], content.length - 22); // the end of a zip
    hashes.set(`${projectSlug}/${pseudo_study_uid}.zip`, await sha256(content));
    await Deno.writeFile(`${imageDir}/${pseudo_study_uid}.zip`, content);
  }

  const { user, password, caPem, basePath, mode } = server;
  const task: ChaosTask = {
    database: connection,
    ftps: {
      ...{ user, password, caPem, basePath, mode, ...proxy.login },
      ...{ connections: 4, attempts: 20, retryDelayMs: 50, timeoutMs: 10_000 },
    },
    imageDir,
  };
  const arrived = new Map<string, string | undefined>();
  let [kills, starts, cuts, running] = [0, 0, 0, true];

  const cutting = (async () => {
    while (running) {
      await sleep(300 + random() * 1_700);
      if (proxy.cutOne(random())) cuts++;
    }
  })();
  // What the ledger calls exported must be there, whole, at that moment.
  const watching = (async () => {
    while (running) {
      const rows = await sql<{ path: string }[]>`
        select slug || '/' || pseudo_study_uid || '.zip' as path from pixl_pipeline.image where state = 'exported'`;
      for (const { path } of rows) {
        if (!arrived.has(path)) arrived.set(path, await hashAt(`${server.files}/${path}`));
      }
      await sleep(100);
    }
  })();

  for (let done = false; !done;) {
    starts++;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "-A", new URL("./chaos_child.ts", import.meta.url).pathname, JSON.stringify(task)],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const stderr = new Response(child.stderr).text();
    const begun = begins(child.stdout);
    let killed = false;
    if (kills < KILLS && await begun) {
      // In the middle of something, on a slow machine too.
      killed = await Promise.race([sleep(random() * 1_200).then(() => true), child.status.then(() => false)]);
    }
    if (killed) {
      child.kill("SIGKILL");
      kills++;
    }
    const { code } = await child.status;
    await begun;
    done = code === 0;
    assert(starts < 100, await stderr);
    await stderr;
  }
  running = false;
  await Promise.all([cutting, watching]);

  assertEquals(kills, KILLS);
  assert(cuts > 0, "no connection was cut");
  const states = await ledger.summary();
  assertEquals(
    states.filter(({ kind }) => kind === "image").map(({ state, count }) => [state, count]),
    PROJECTS.map(() => ["exported", STUDIES / PROJECTS.length]),
  );
  const found = new Map<string, string | undefined>();
  let recorded = 0;
  for (const project of PROJECTS) {
    for await (const { name } of Deno.readDir(`${server.files}/${project}`)) {
      assert(!isPartName(name), `${name} is left`);
      found.set(`${project}/${name}`, await hashAt(`${server.files}/${project}/${name}`));
    }
    for (
      const { path, sha256 } of await ledger.transfersTo(
        `${proxy.login.host}:${proxy.login.port}${server.basePath}`,
        project,
      )
    ) {
      assertEquals(sha256, hashes.get(path));
      recorded++;
    }
  }
  assertEquals(recorded, STUDIES);
  assertEquals(found.size, STUDIES);
  for (const [path, hash] of hashes) {
    assertEquals(found.get(path), hash, path);
    if (arrived.has(path)) assertEquals(arrived.get(path), hash, `${path} was marked too early`);
  }
}

/** Whether a child says that its first bytes are out, before it ends. */
async function begins(stdout: ReadableStream<Uint8Array>): Promise<boolean> {
  let hasBegun = false;
  for await (const _chunk of stdout) {
    hasBegun = true;
    break;
  }
  return hasBegun;
}

async function hashAt(path: string): Promise<string | undefined> {
  return await Deno.readFile(path).then((bytes) => sha256(bytes), () => undefined);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
