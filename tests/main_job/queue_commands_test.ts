import { assert, assertEquals, assertMatch, assertNotMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { pixl, pixlJson, startPixl } from "../support/pixl.ts";
import { testWith } from "../support/programs.ts";
import { useSharedRabbitmq } from "../support/rabbitmq.ts";
import { openSite, type Site } from "../support/site.ts";
import { until } from "../support/until.ts";

useSharedRabbitmq();

interface QueueStatus {
  readonly queue: string;
  readonly ready: number;
  readonly delayed: number;
  readonly dead: number;
  readonly consumers: number;
  readonly inHand: number | null;
  readonly inHandLedger: number | null;
  readonly oldestMs: number | null;
}

interface Status {
  readonly queues: readonly QueueStatus[];
  readonly projects: readonly { readonly kind: string; readonly state: string; readonly count: number }[];
}

interface Dead {
  readonly dead: readonly {
    readonly messageId: string;
    readonly attempts: number;
    readonly reason: string;
    readonly publishedAt: string;
    readonly diedAt: string;
    readonly errorClass: string | null;
  }[];
}

/** A service that answers 404 to every study until it is mended; then it holds each in hand until it is let go. */
function startService() {
  const service = { mended: false, hold: false, asked: 0, letGo: Promise.withResolvers<void>() };
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
    await request.body?.cancel();
    const n = ++service.asked;
    if (!service.mended) return new Response(null, { status: n % 2 === 0 ? 404 : 410 });
    if (service.hold) await service.letGo.promise;
    return Response.json({ pseudo_study_uid: `2.25.${1_000 + n}` });
  });
  return Object.assign(service, {
    url: `http://127.0.0.1:${server.addr.port}/study`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  });
}

/** Registers a test on RabbitMQ and PostgreSQL. */
function onServers(name: string, run: (site: Site) => Promise<void>): void {
  testWith(["rabbitmq", "postgresql"], `${name}: RabbitMQ`, async () => {
    await using site = await openSite({ studies: 6 });
    await pixlJson(["migrate"], site);
    await run(site);
  });
}

/** Registers it on the embedded database too, which takes longer. */
function onEachSite(name: string, run: (site: Site) => Promise<void>): void {
  onServers(name, run);
  Deno.test(`${name}: embedded`, async () => {
    await using site = await openSite({ studies: 6, embedded: true });
    await run(site);
  });
}

const consume = (site: Site, url: string) =>
  pixl(["consume", "pacs", "--handler", url, "--rate", "200", "--until-empty"], site);

async function pacs(site: Site): Promise<QueueStatus> {
  const { queues } = await pixlJson<Status>(["status", "--queues", "pacs"], site);
  const [queue] = queues;
  assert(queue !== undefined);
  return queue;
}

/** States of the project's images. */
async function images(site: Site): Promise<Record<string, number>> {
  const { projects } = await pixlJson<Status>(["status"], site);
  return Object.fromEntries(projects.filter(({ kind }) => kind === "image").map(({ state, count }) => [state, count]));
}

onEachSite("pixl dead lists, retries and drops dead letters; the ledger is in step", async (site) => {
  await using service = startService();
  await pixlJson(["populate", site.extractDir, "--queues", "pacs"], site);
  assertEquals((await consume(site, service.url)).code, 6);
  assertEquals(await images(site), { failed: 6 });

  const { stderr } = await pixl(["dead", "pacs"], site);
  assertNotMatch(stderr, /MRN|ACC/);
  assertMatch(stderr, /6 dead letters/);
  const { dead } = await pixlJson<Dead>(["dead", "pacs"], site);
  assertEquals(dead.length, 6);
  for (const { attempts, publishedAt, diedAt } of dead) {
    assertEquals(attempts, 1);
    for (const time of [publishedAt, diedAt]) assert(Math.abs(Date.parse(time) - Date.now()) < 300_000, time);
  }
  const gone = await pixlJson<Dead>(["dead", "pacs", "--reason", "410"], site);
  assertEquals(gone.dead.map(({ reason }) => reason), Array(3).fill("the service answered with status 410"));

  const [first] = gone.dead;
  assertStringIncludes(stderr, first?.messageId ?? "?");
  assertEquals(await pixlJson(["dead", "pacs", "--drop", "--id", first?.messageId ?? ""], site), {
    queue: "pacs",
    dropped: 1,
  });
  assertEquals(await images(site), { failed: 6 });
  service.mended = true;
  assertEquals(await pixlJson(["dead", "pacs", "--retry", "--reason", "404"], site), { queue: "pacs", retried: 3 });
  assertEquals(await images(site), { failed: 3, queued: 3 });
  assertEquals(await pixlJson(["dead", "pacs", "--retry", "--all"], site), { queue: "pacs", retried: 2 });
  assertEquals((await consume(site, service.url)).code, 0);
  assertEquals(await images(site), { failed: 1, done: 5 });
  const { ready, dead: left } = await pacs(site);
  assertEquals([ready, left], [0, 0]);
});

onServers("pixl retry and populate --again delete the dead letters that they mend", async (site) => {
  await using service = startService();
  const { project } = await pixlJson<{ project: string }>(["populate", site.extractDir, "--queues", "pacs"], site);
  await consume(site, service.url);
  assertEquals((await pacs(site)).dead, 6);

  assertEquals(await pixlJson(["retry", project, "--queues", "pacs"], site), {
    project,
    published: { pacs: 6 },
    dropped: { pacs: 6 },
  });

  // Again for another reason: what died since is kept until it is asked for again.
  assertEquals((await pacs(site)).dead, 0);
  await consume(site, service.url);
  assertEquals((await pacs(site)).dead, 6);
  service.mended = true;
  await pixlJson(["populate", site.extractDir, "--queues", "pacs", "--again"], site);
  assertEquals((await pacs(site)).dead, 0);
  await consume(site, service.url);
  assertEquals(await images(site), { done: 6 });
});

onServers("pixl drain and restore move a queue to a file and back", async (site) => {
  await pixlJson(["populate", site.extractDir, "--queues", "pacs"], site);
  const file = join(site.dir, "pacs.jsonl");

  assertEquals(await pixlJson(["drain", "pacs", "pacs.jsonl"], site), {
    queue: "pacs",
    file: "pacs.jsonl",
    drained: 6,
  });

  assertEquals((await pacs(site)).ready, 0);
  assertEquals(((await Deno.stat(file)).mode ?? 0) & 0o777, 0o600);
  assertEquals((await Deno.readTextFile(file)).trimEnd().split("\n").length, 6);
  assertEquals((await pixl(["drain", "pacs", file], site)).code, 2);
  await Deno.writeTextFile(join(site.dir, "torn"), (await Deno.readTextFile(file)).slice(0, -9));
  const torn = await pixl(["restore", "pacs", "torn"], site);
  assertEquals(torn.code, 3);
  assertMatch(torn.stderr, /line 6 of 'torn'/);
  assertEquals((await pixl(["restore", "pacs", "nothing"], site)).code, 3);

  assertEquals(await pixlJson(["restore", "pacs", file], site), { queue: "pacs", file, restored: 6 });

  assertEquals((await pacs(site)).ready, 6);
  assert((await Deno.stat(`${file}.restored`)).isFile);
  await using service = startService();
  service.mended = true;
  assertEquals((await consume(site, service.url)).code, 0);
  assertEquals(await images(site), { done: 6 });
});

onServers(
  "pixl purge deletes what waits when it is told --yes; retry --unfinished asks for it again",
  async (site) => {
    const { project } = await pixlJson<{ project: string }>(["populate", site.extractDir, "--queues", "pacs"], site);
    const asked = await pixl(["purge", "pacs"], site);
    assertEquals(asked.code, 2);
    assertStringIncludes(asked.stderr, "6 messages wait on pacs");
    assertEquals((await pacs(site)).ready, 6);

    const purged = await pixl(["purge", "pacs", "--yes", "--json"], site);

    assertEquals(JSON.parse(purged.stdout), { queue: "pacs", purged: 6 });
    assertStringIncludes(purged.stderr, "pixl retry PROJECT --unfinished");
    assertEquals((await pacs(site)).ready, 0);
    assertEquals(await images(site), { queued: 6 });
    await pixlJson(["retry", project, "--queues", "pacs", "--unfinished"], site);
    assertEquals((await pacs(site)).ready, 6);
  },
);

onEachSite("pixl status says who consumes, what is in hand, how old, and every queue it knows", async (site) => {
  await using service = startService();
  service.mended = service.hold = true;
  await pixlJson(["populate", site.extractDir, "--queues", "mri=image"], site);
  await pixlJson(["rate", "mri=image", "200"], site);
  const consumer = await startPixl(
    ["consume", "mri=image", "--handler", service.url, "--concurrency", "2", "--until-empty"],
    site,
  );
  try {
    await until("two studies are in hand", () => service.asked === 2);

    const { queues } = await pixlJson<Status>(["status"], site);

    assertEquals(queues.map(({ queue }) => queue), ["pacs", "ehr", "mri"]);
    const mri = queues.find(({ queue }) => queue === "mri");
    const embedded = site.env.PIXL_DATA_DIR !== undefined;
    assertEquals([mri?.consumers, mri?.inHandLedger, mri?.inHand], [1, null, embedded ? 2 : null]);
    const [asked] = (await pixlJson<Status>(["status", "--queues", "mri=image"], site)).queues;
    assertEquals(asked?.inHandLedger, 2);
    assert((asked?.oldestMs ?? -1) >= 0 && (asked?.oldestMs ?? 0) < 300_000);
    assertEquals(queues.find(({ queue }) => queue === "ehr")?.oldestMs, null);
    const shown = await pixl(["status", "--queues", "mri=image"], site);
    assertMatch(
      shown.stderr,
      /queue +rate +ready +delayed +in hand +dead +consumers +oldest\n +mri +200 +4 +0 +2 +0 +1 +\d+ (s|min)\n/,
    );
  } finally {
    service.letGo.resolve();
    await consumer.finished;
  }
});

Deno.test("pixl dead, drain, purge and restore say what is wrong with their words", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  const cases: [readonly string[], string][] = [
    [["dead", "pacs", "--retry"], "say --id ID, --reason TEXT or --all"],
    [["dead", "pacs", "--retry", "--drop", "--all"], "keep one"],
    [["dead", "pacs", "--drop", "--all", "--id", "x"], "keep one"],
    [["dead", "pacs", "--drop", "--reason", ""], "--all means all"],
    [["dead", "mri"], "mri=image"],
    [["purge", "pacs ehr"], "no name of a queue"],
    [["drain", "pacs"], "missing required argument 'file'"],
  ];
  for (const [words, text] of cases) {
    const { code, stderr } = await pixl(words, site);
    assertEquals([words, code], [words, 2]);
    assertStringIncludes(stderr, text);
  }
});
