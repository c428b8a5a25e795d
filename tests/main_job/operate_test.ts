import { assert, assertEquals, assertGreater, assertMatch, assertStringIncludes } from "@std/assert";
import * as amqp from "amqplib";
import { openDatabase } from "@pixl/core/database";
import { pixl, pixlJson, startPixl } from "../support/pixl.ts";
import { join } from "node:path";
import { listFiles } from "../../src/demo/files.ts";
import { freePort } from "../support/ports.ts";
import { startProftpd } from "../support/proftpd.ts";
import { testWith } from "../support/programs.ts";
import { sharedRabbitmq, useSharedRabbitmq } from "../support/rabbitmq.ts";
import { openSite } from "../support/site.ts";
import { until } from "../support/until.ts";

useSharedRabbitmq();

interface Status {
  readonly queues: readonly { readonly queue: string; readonly ready: number; readonly rate: number }[];
}

testWith(
  ["rabbitmq", "postgresql"],
  "pixl rate reaches a running consumer: 0 takes nothing, then it goes on",
  async () => {
    await using site = await openSite({ studies: 5 });
    await pixlJson(["migrate"], site);
    await pixlJson(["populate", site.extractDir], site);
    assertEquals(await pixlJson(["rate", "pacs", "0"], site), { queue: "pacs", rate: 0, capacity: 5, set: true });
    const consumer = await startPixl(
      ["consume", "pacs", "--handler", String(site.hospital.urls.pacs), "--until-empty"],
      site,
    );
    const server = await sharedRabbitmq();
    const vhost = site.env.RABBITMQ_VHOST ?? "";
    await until(
      "the consumer is connected",
      async () => (await server.ctl("list_connections", "vhost")).includes(vhost),
    );
    const { queues: [paused] } = await pixlJson<Status>(["status"], site);
    assertEquals([paused?.ready, paused?.rate], [5, 0]);
    assertEquals(await listFiles(site.imageDir), []);

    await pixlJson(["rate", "pacs", "100"], site);

    assertEquals((await consumer.finished).code, 0);
    assertEquals((await listFiles(site.imageDir)).length, 5);
  },
);

testWith(["rabbitmq", "postgresql"], "pixl consume: two consumers of a queue together keep its rate", async () => {
  await using site = await openSite({ studies: 20 });
  await pixlJson(["migrate"], site);
  await pixlJson(["populate", site.extractDir], site);
  await pixlJson(["rate", "pacs", "5", "--capacity", "1"], site);
  const command = ["consume", "pacs", "--handler", String(site.hospital.urls.pacs), "--until-empty", "--json"];
  const start = performance.now();

  const runs = await Promise.all([pixl(command, site), pixl(command, site)]);

  // One token was there, one a consumer may hold when the other has taken the last study.
  assertGreater(performance.now() - start, (20 - 2) * 200);
  assertEquals(runs.map(({ code }) => code), [0, 0]);
  assertEquals((await listFiles(site.imageDir)).length, 20);
});

Deno.test("pixl rate and status reach a running consumer on the embedded database too", async () => {
  await using site = await openSite({ studies: 5, embedded: true });
  await pixlJson(["populate", site.extractDir], site);
  await pixlJson(["rate", "pacs", "0"], site);
  const consumer = await startPixl(
    ["consume", "pacs", "--handler", String(site.hospital.urls.pacs), "--until-empty"],
    site,
  );
  await until("the consumer leads", () => exists(join(site.dir, "data/run/socket")));
  const { queues: [paused] } = await pixlJson<Status>(["status"], site);
  assertEquals([paused?.ready, paused?.rate], [5, 0]);

  await pixlJson(["rate", "pacs", "100"], site);

  assertEquals((await consumer.finished).code, 0);
  assertEquals((await listFiles(site.imageDir)).length, 5);
});

const exists = (path: string) => Deno.stat(path).then(() => true, () => false);

testWith("postgresql", "pixl rate --schedule sets the rate of now, keeps the schedule, and ends it", async () => {
  await using site = await openSite({ studies: 2 });
  await pixlJson(["migrate"], site);
  const schedule = "mon-sun 00:00-24:00 UTC = 3; otherwise 5";

  const set = await pixlJson(["rate", "pacs", "--schedule", "UTC = 3; otherwise 5"], site);
  assertEquals(set, { queue: "pacs", rate: 3, capacity: 5, set: true, schedule });
  const byHand = await pixlJson(["rate", "pacs", "0"], site);
  assertEquals(byHand, { queue: "pacs", rate: 0, capacity: 5, set: true, schedule });
  const ended = await pixlJson(["rate", "pacs", "--no-schedule"], site);
  assertEquals(ended, { queue: "pacs", rate: 0, capacity: 5, set: true });

  const wrong = await pixl(["rate", "pacs", "--schedule", "mon-fry UTC = 3; otherwise 5"], site);
  assertEquals(wrong.code, 2);
  assertStringIncludes(wrong.stderr, "'mon-fry'");
});

testWith(
  ["rabbitmq", "postgresql"],
  "pixl consume follows the schedule of its queue, and a pause by hand within it",
  async () => {
    await using site = await openSite({ studies: 3 });
    await pixlJson(["migrate"], site);
    await pixlJson(["populate", site.extractDir], site);
    await pixlJson(["rate", "pacs", "--schedule", "UTC = 50; otherwise 0"], site);
    await pixlJson(["rate", "pacs", "0"], site);
    const consumer = await startPixl(
      ["consume", "pacs", "--handler", String(site.hospital.urls.pacs), "--until-empty"],
      site,
    );
    const server = await sharedRabbitmq();
    const vhost = site.env.RABBITMQ_VHOST ?? "";
    await until(
      "the consumer is connected",
      async () => (await server.ctl("list_connections", "vhost")).includes(vhost),
    );
    assertEquals(await listFiles(site.imageDir), []);

    await pixlJson(["rate", "pacs", "--schedule", "UTC = 50; otherwise 0"], site);

    assertEquals((await consumer.finished).code, 0);
    assertEquals((await listFiles(site.imageDir)).length, 3);
  },
);

testWith(["rabbitmq", "postgresql", "proftpd"], "pixl doctor tries every service and says what to mend", async () => {
  await using ftps = await startProftpd({ mode: "implicit" });
  await using site = await openSite({ studies: 2, ftps });
  const before = await pixl(["doctor", "--json"], site);
  assertEquals(before.code, 2);
  assertStringIncludes(before.stderr, "pixl migrate");
  await pixlJson(["migrate"], site);

  const { checks } = await pixlJson<{ checks: { check: string; ok: boolean }[] }>(["doctor"], site);

  assertEquals(checks.map(({ check, ok }) => [check, ok]), [
    ["database", true],
    ["broker", true],
    ["destination", true],
    ["export folder", true],
    ["image folder", true],
    ["all settings", true],
  ]);
  const conflict = await pixl(["doctor", "--json"], { ...site, env: { ...site.env, PIXL_DB_TLS: "verify" } });
  assertStringIncludes(conflict.stdout, "name the database's authority too");
});

Deno.test("pixl doctor tries what is configured, also where the rest is missing, and the handlers it is given", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  const { PIXL_IMAGE_DIR: _, ...env } = site.env;
  await pixlJson(["populate", site.extractDir], site);
  const share = join(site.dir, "share");
  await Deno.mkdir(share);
  const silent = `http://127.0.0.1:${freePort()}/`;
  const doctor = ["doctor", "--json", "--handler", `pacs=${site.hospital.urls.pacs}`, `ehr=${silent}`];

  const broken = await pixl(doctor, { ...site, env });
  const mended = await pixl(doctor, { ...site, env: { ...site.env, PIXL_UPLOAD_DIR: share } });

  const found = ({ stdout }: { stdout: string }) =>
    (JSON.parse(stdout).checks as { check: string; ok: boolean }[]).map(({ check, ok }) => [check, ok]);
  assertEquals(broken.code, 2);
  assertStringIncludes(broken.stderr, "FTP_HOST is not set");
  // The folder is called images where no setting says so, and there is one.
  await Deno.remove(site.imageDir);
  assertEquals(found(broken), [
    ["database", true],
    ["broker", true],
    ["destination", false],
    ["export folder", true],
    ["image folder", true],
    ["handler of pacs", true],
    ["handler of ehr", false],
  ]);
  assertEquals([mended.code, found(mended).filter(([, ok]) => !ok)], [4, [["handler of ehr", false]]]);
  const { code, stderr } = await pixl(["doctor"], { ...site, env: { ...site.env, PIXL_UPLOAD_DIR: share } });
  assertEquals(code, 2);
  assertStringIncludes(stderr, "image folder");
});

Deno.test("pixl populate --again and retry --unfinished warn of what the queues still hold", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  const first = await pixl(["populate", site.extractDir, "--again"], site);
  assertEquals([first.code, first.stderr.includes("still holds")], [0, false]);
  const { project } = await pixlJson<{ project: string }>(["populate", site.extractDir], site);
  for (const again of [["populate", site.extractDir, "--again"], ["retry", project, "--unfinished"]]) {
    const { code, stderr } = await pixl(again, site);
    assertEquals(code, 0);
    assertMatch(stderr, /pacs still holds \d+ messages/);
    assertMatch(stderr, /ehr still holds \d+ messages/);
  }
  const failed = await pixl(["retry", project], site);
  assertEquals([failed.code, failed.stderr.includes("still holds")], [0, false]);
});

Deno.test("pixl rate and status show the schedule's rate, also where no consumer follows it", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  await pixlJson(["rate", "pacs", "--schedule", "UTC 00:00-00:01 = 1; otherwise 7"], site);
  await pixlJson(["rate", "pacs", "3"], site);
  assertEquals((await pixlJson<{ rate: number }>(["rate", "pacs"], site)).rate, 3);
  await using database = await openDatabase({ kind: "embedded", dir: site.env.PIXL_DATA_DIR ?? "", shared: true });
  // As if it had been set in a window that has ended.
  await database.sql`update pixl_pipeline.rate_limit set rate_set_at = now() - interval '2 days'`;
  const { rate } = await pixlJson<{ rate: number }>(["rate", "pacs"], site);
  assert(rate === 7 || rate === 1, String(rate));
  const { queues: [pacs] } = await pixlJson<Status>(["status"], site);
  assertEquals(pacs?.rate, rate);
});

Deno.test("pixl consume takes a queue that stands behind its handler", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  await pixlJson(["populate", site.extractDir, "--queues", "pacs"], site);
  const consume = ["consume", "--until-empty", "--rate", "100", "--handler", String(site.hospital.urls.pacs), "pacs"];
  const { queues } = await pixlJson<{ queues: Record<string, { done: number }> }>(consume, site);
  assertEquals(queues.pacs?.done, 2);
});

Deno.test("pixl reads .env in its working folder", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  await Deno.writeTextFile(
    `${site.dir}/.env`,
    Object.entries(site.env).map(([name, value]) => `${name}='${value}'\n`).join(""),
  );
  const { studies } = await pixlJson<{ studies: number }>(["populate", site.extractDir], { cwd: site.dir, env: {} });
  assertEquals(studies, 2);
});

Deno.test("pixl says which process has the embedded database open, if that does not share it", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  const dir = join(site.dir, "data");
  using lock = await Deno.open(join(dir, "lock"), { create: true, write: true });
  await lock.lock(true);
  await lock.write(new TextEncoder().encode(`${Deno.pid}\n`));

  const { code, stderr } = await pixl(["status"], site);

  assertEquals(code, 4);
  assertStringIncludes(stderr, `process ${Deno.pid} uses it`);
});

testWith(
  ["rabbitmq", "postgresql"],
  "pixl fills the queues of a broker that it shares with the Python PIXL, with a priority",
  async () => {
    await using site = await openSite({ studies: 2 });
    const shared = { ...site, env: { ...site.env, RABBITMQ_QUEUE_TYPE: "classic" } };
    await pixlJson(["migrate"], shared);
    await pixlJson(["populate", site.extractDir, "--priority", "4"], shared);

    const { host, port, username, password } = await sharedRabbitmq();
    const vhost = encodeURIComponent(site.env.RABBITMQ_VHOST ?? "");
    const connection = await amqp.connect({ hostname: host, port, username, password, vhost });
    try {
      const channel = await connection.createChannel();
      await channel.assertQueue("pacs", { durable: true, arguments: { "x-max-priority": 5 } });
      const message = await channel.get("pacs", { noAck: true });
      assertEquals(message !== false && message.properties.priority, 4);
    } finally {
      await connection.close();
    }
    const { code, stderr } = await pixl(["populate", site.extractDir, "--priority", "6"], shared);
    assertEquals(code, 2);
    assertStringIncludes(stderr, "--priority must be a whole number from 1 to 5");
  },
);

testWith(
  ["rabbitmq", "postgresql"],
  "pixl consume --single-active stands by, and goes on when the active one is killed",
  async () => {
    await using site = await openSite({ studies: 5 });
    await pixlJson(["migrate"], site);
    await pixlJson(["populate", site.extractDir], site);
    await pixlJson(["rate", "pacs", "0"], site);
    const command = ["consume", "pacs", "--single-active", "--handler", String(site.hospital.urls.pacs)];
    const active = await startPixl(command, site);
    const consumers = async () => {
      const { queues } = await pixlJson<{ queues: { consumers: number }[] }>(["status"], site);
      return queues[0]?.consumers;
    };
    await until("the first is active", async () => await consumers() === 1);
    const standby = await startPixl([...command, "--until-empty"], site);
    active.kill("SIGKILL");
    await active.finished;
    await pixlJson(["rate", "pacs", "100"], site);

    assertEquals((await standby.finished).code, 0);
    assertEquals((await listFiles(site.imageDir)).length, 5);
  },
);
