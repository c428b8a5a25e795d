import {
  assert,
  assertEquals,
  assertGreater,
  assertLessOrEqual,
  assertMatch,
  assertNotMatch,
  assertRejects,
} from "@std/assert";
import {
  DatabaseError,
  type Lease,
  LeaseLostError,
  Ledger,
  type LedgerCall,
  migrate,
  openDatabase,
  type Queryable,
  type Sql,
  type Study,
  type Transfer,
} from "@pixl/core/database";
import { type Engine, onEachEngine } from "../support/databases.ts";
import { ROOT } from "../support/paths.ts";
import { freshDatabase, sharedPostgres } from "../support/postgres.ts";
import { testWith } from "../support/programs.ts";

const TIME = "2023-12-07T14:08:58";

function study(project: string, n: number, change: Partial<Study> = {}): Study {
  return {
    mrn: `MRNSEED${n % 7}`,
    accession_number: `ACCSEED${String(n).padStart(6, "0")}`,
    study_date: "2020-02-29",
    procedure_occurrence_id: 1_000 + n,
    project_name: project,
    extract_generated_timestamp: TIME,
    ...change,
  };
}

function studies(project: string, count: number): Study[] {
  return Array.from({ length: count }, (_, n) => study(project, n));
}

function lease(leaseMs = 60_000): Lease {
  return { owner: crypto.randomUUID(), leaseMs };
}

/** A ledger, and a project of its own with an extract of so many studies. */
async function withProject(engine: Engine, count: number) {
  const database = await engine.database();
  const ledger = new Ledger(database);
  const project = `project-${crypto.randomUUID()}`;
  const extract = {
    project_name: "A Project",
    project_slug: project,
    extract_time: TIME,
    time_slug: "2023-12-07t14-08-58",
  };
  const { extractId } = await ledger.registerExtract(extract);
  if (count > 0) await ledger.registerStudies(extractId, studies(project, count));
  return { sql: database.sql, ledger, project, extract, extractId };
}

async function claimed(ledger: Ledger, kind: "image" | "report", which: Study, by: Lease = lease()) {
  const claim = await ledger.claim(kind, which, by);
  assert(claim.result === "claimed", claim.result);
  return { id: claim.id, attempt: claim.attempt, owner: by.owner };
}

async function completeImage(ledger: Ledger, id: number, owner: string, pseudonym: string): Promise<void> {
  await ledger.recordPseudonym(id, owner, pseudonym);
  await ledger.complete("image", id, owner);
}

async function completeReport(ledger: Ledger, id: number, owner: string, text: string): Promise<void> {
  await ledger.recordReport(id, owner, text);
  await ledger.complete("report", id, owner);
}

/** What a call of {@linkcode CALLS} works on. */
interface Given {
  readonly ledger: Ledger;
  readonly project: string;
  readonly extractId: number;
  readonly imageId: number;
  readonly owner: string;
}

/** Every method of the ledger, called with options. */
const CALLS: Readonly<Record<string, (given: Given, call: LedgerCall) => Promise<unknown>>> = {
  registerExtract: ({ ledger, project }, call) =>
    ledger.registerExtract({ project_name: "A", project_slug: project, extract_time: TIME, time_slug: "t" }, call),
  findExtract: ({ ledger, project }, call) => ledger.findExtract(project, undefined, call),
  extracts: ({ ledger, project }, call) => ledger.extracts(project, call),
  registerStudies: ({ ledger, project, extractId }, call) =>
    ledger.registerStudies(extractId, studies(project, 2), call),
  unpublished: ({ ledger, extractId }, call) => collect(ledger.unpublished(extractId, "image", call)),
  markPublished: ({ ledger, imageId }, call) => ledger.markPublished("image", [imageId], call),
  claim: ({ ledger, project }, call) => ledger.claim("report", study(project, 0), lease(), call),
  renew: ({ ledger, imageId, owner }, call) => ledger.renew("image", imageId, { owner, leaseMs: 1_000 }, call),
  recordPseudonym: ({ ledger, imageId, owner }, call) => ledger.recordPseudonym(imageId, owner, "1.2", call),
  recordReport: ({ ledger, owner }, call) => ledger.recordReport(1, owner, "text", call),
  complete: ({ ledger, imageId, owner }, call) => ledger.complete("image", imageId, owner, call),
  putBack: ({ ledger, imageId, owner }, call) => ledger.putBack("image", imageId, owner, "closed", call),
  fail: ({ ledger, project }, call) => ledger.fail("image", study(project, 0), "refused", call),
  askAgain: ({ ledger, project }, call) => ledger.askAgain("image", [study(project, 0)], call),
  superseded: ({ ledger, project }, call) =>
    ledger.superseded("image", [{ ...study(project, 0), diedAt: "2026-01-01T00:00:00Z" }], call),
  inHand: ({ ledger }, call) => ledger.inHand(call),
  queues: ({ ledger }, call) => ledger.queues(call),
  republish: ({ ledger, extractId }, call) => ledger.republish("image", extractId, "failed", call),
  imagesToUpload: ({ ledger }, call) => collect(ledger.imagesToUpload(call)),
  reports: ({ ledger, extractId }, call) => collect(ledger.reports(extractId, call)),
  recordTransfer: ({ ledger, imageId }, call) => ledger.recordTransfer(transferOf(imageId), call),
  findTransfer: ({ ledger }, call) => ledger.findTransfer("dsh:21", "p", call),
  hasTransfersTo: ({ ledger }, call) => ledger.hasTransfersTo("dsh:21", call),
  claimUpload: ({ ledger }, call) => ledger.claimUpload("dsh:21", "p", ".p.part", lease(), call),
  renewUpload: ({ ledger, owner }, call) => ledger.renewUpload("dsh:21", "uploading", { owner, leaseMs: 60_000 }, call),
  notePart: ({ ledger, owner }, call) => {
    const part = { name: ".p.part", source: "1,2", bytes: 1, sha256: "a".repeat(64) };
    return ledger.notePart("dsh:21", "p", part, owner, call);
  },
  releaseUpload: ({ ledger, owner }, call) => ledger.releaseUpload("dsh:21", "p", owner, call),
  forgetPart: ({ ledger, owner }, call) => ledger.forgetPart("dsh:21", "p", owner, call),
  imagesOf: ({ ledger }, call) => ledger.imagesOf(["1.2"], call),
  pseudonymised: ({ ledger, project }, call) => collect(ledger.pseudonymised(project, call)),
  transfersTo: ({ ledger, project }, call) => ledger.transfersTo("dsh:21", project, call),
  unexport: ({ ledger, imageId }, call) => ledger.unexport(imageId, "done", call),
  markExported: ({ ledger, imageId }, call) => ledger.markExported(imageId, call),
  recordImageExported: ({ ledger, imageId }, call) => ledger.recordImageExported(transferOf(imageId), call),
  history: ({ ledger }, call) => ledger.history("1.2", call),
  failures: ({ ledger, project }, call) => ledger.failures(project, call),
  sent: ({ ledger, project }, call) => ledger.sent(project, call),
  unfinished: ({ ledger, project }, call) => collect(ledger.unfinished(project, call)),
  summary: ({ ledger, project }, call) => ledger.summary(project, call),
};

/** The same transaction, which counts what it is asked. */
function countQueries(transaction: Queryable): { readonly sql: Queryable; readonly count: number } {
  let count = 0;
  const sql = new Proxy(transaction, {
    apply(target, self, args) {
      count += 1;
      return Reflect.apply(target, self, args);
    },
  });
  return {
    sql,
    get count() {
      return count;
    },
  };
}

/** Which state may follow which. */
const LEGAL = [
  ["queued", "working"],
  ["queued", "failed"],
  ["working", "queued"],
  ["working", "done"],
  ["working", "failed"],
  ["failed", "queued"],
  ["failed", "working"],
  ["done", "exported"],
  ["exported", "queued"],
  ["exported", "done"],
] as const;

/** What a program that is not ours may try. */
type BadChange = (sql: Sql, ids: { readonly extractId: number; readonly imageId: number }) => PromiseLike<unknown>;

/** The one image of a project. */
async function imageOf(sql: Sql, project: string): Promise<{ image_id: number }> {
  const [row] = await sql<{ image_id: number }[]>`select image_id from pixl_pipeline.image where slug = ${project}`;
  assert(row);
  return row;
}

function transferOf(imageId: number, sha256 = "a".repeat(64)): Transfer & { imageId: number } {
  return {
    imageId,
    destination: "dsh:21",
    path: `p/${imageId}.zip`,
    bytes: 5,
    sha256,
    verifiedBy: "sha256",
    version: "0.1.0",
  };
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  return await Array.fromAsync(items);
}

Deno.test("CALLS has every method of the ledger", () => {
  const methods = Object.getOwnPropertyNames(Ledger.prototype).filter((name) => name !== "constructor");
  assertEquals(Object.keys(CALLS).sort(), methods.sort());
});

// Before the embedded database is open: a timer of PGlite's own would end in whichever of these runs long.
testWith(
  "postgresql",
  "Ledger.registerStudies() of the same 5,000 studies by ten processes at once makes 5,000 rows",
  async () => {
    await using server = await sharedPostgres();
    await using options = await freshDatabase(server);
    await using database = await openDatabase(options);
    await migrate(database);
    const program = `
    import { Ledger, openDatabase } from "@pixl/core/database";
    await using database = await openDatabase(${JSON.stringify(options)});
    const ledger = new Ledger(database);
    const time = "${TIME}";
    const { extractId } = await ledger.registerExtract({
      project_name: "A Project", project_slug: "a-project", extract_time: time, time_slug: "2023-12-07t14-08-58",
    });
    const studies = Array.from({ length: 5_000 }, (_, n) => ({
      mrn: "MRNSEED" + n % 97, accession_number: "ACCSEED" + n, study_date: "2020-02-29", procedure_occurrence_id: n,
      project_name: "a-project", extract_generated_timestamp: time,
    }));
    // Each in an order of its own.
    studies.sort(() => Math.random() - 0.5);
    console.log((await ledger.registerStudies(extractId, studies)).added);`;
    const added = await Promise.all(Array.from({ length: 10 }, async () => {
      const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
        args: ["eval", "--no-check", program],
        cwd: ROOT,
      }).output();
      assertEquals(success, true, new TextDecoder().decode(stderr));
      return Number(new TextDecoder().decode(stdout));
    }));
    assertEquals(added.reduce((sum, count) => sum + count, 0), 5_000);
    const [rows] = await database.sql<{ images: number; reports: number }[]>`
    select (select count(*) from pixl_pipeline.image) as images, (select count(*) from pixl_pipeline.report) as reports`;
    assertEquals({ ...rows }, { images: 5_000, reports: 5_000 });
  },
);

testWith(
  "postgresql",
  "Ledger.recordImageExported() by two uploaders of one study: one marks it, both know what left",
  async () => {
    await using server = await sharedPostgres();
    await using options = await freshDatabase(server);
    await using first = await openDatabase(options);
    await using second = await openDatabase(options);
    await migrate(first);
    const ledgers = [new Ledger(first), new Ledger(second)] as const;
    const { extractId } = await ledgers[0].registerExtract({
      project_name: "A Project",
      project_slug: "a-project",
      extract_time: TIME,
      time_slug: "2023-12-07t14-08-58",
    });
    await ledgers[0].registerStudies(extractId, [study("a-project", 1)]);
    const { id, owner } = await claimed(ledgers[0], "image", study("a-project", 1));
    await completeImage(ledgers[0], id, owner, "1.2.3");

    await Promise.all(ledgers.map((ledger) => ledger.recordImageExported(transferOf(id))));

    const [history] = await ledgers[0].history("1.2.3");
    assertEquals(history?.events.filter(({ what }) => what === "image exported").length, 1);
    assertEquals(history?.transfers.length, 1);
  },
);

onEachEngine((engine) => {
  const check = (name: string, run: () => Promise<void>) => engine.test(`Ledger.${name} (${engine.name})`, run);

  check("registerExtract() gives the same extract again", async () => {
    const { ledger, extract, extractId } = await withProject(engine, 0);
    const again = await Promise.all(Array.from({ length: 10 }, () => ledger.registerExtract(extract)));
    assertEquals(again.map((each) => each.extractId), Array(10).fill(extractId));
  });

  check("findExtract() gives the newest, or that of a time", async () => {
    const { ledger, project, extract, extractId } = await withProject(engine, 0);
    const older = { ...extract, extract_time: "2023-12-07T14:08:57Z", time_slug: "older" };
    const { extractId: olderId } = await ledger.registerExtract(older);
    assertEquals(await ledger.findExtract(project), {
      extractId,
      projectSlug: project,
      projectName: "A Project",
      extractTime: TIME,
      timeSlug: "2023-12-07t14-08-58",
      studies: 0,
      leftOut: {},
    });
    assertEquals((await ledger.findExtract(project, "older"))?.extractId, olderId);
    assertEquals(await ledger.findExtract(project, "never"), undefined);
    assertEquals(await ledger.findExtract("no-project"), undefined);
  });

  check("registerStudies() counts what is new, known and exported", async () => {
    const { ledger, project, extractId } = await withProject(engine, 0);
    const [first, ...rest] = studies(project, 2_345);
    assert(first);
    assertEquals(await ledger.registerStudies(extractId, [first]), { added: 1, known: 0, exported: 0 });
    const { id, owner } = await claimed(ledger, "image", first);
    await completeImage(ledger, id, owner, "1.2.3");
    await ledger.recordImageExported(transferOf(id));

    const twice = [first, ...rest, ...rest.slice(0, 3)];
    assertEquals(await ledger.registerStudies(extractId, twice), { added: 2_344, known: 3, exported: 1 });
    assertEquals(await ledger.registerStudies(extractId, twice), { added: 0, known: 2_347, exported: 1 });
    assertEquals(await ledger.registerStudies(extractId, []), { added: 0, known: 0, exported: 0 });
  });

  check("registerStudies() takes an asynchronous source, and text with any characters", async () => {
    const { ledger, project, extractId } = await withProject(engine, 0);
    const odd = study(project, 0, {
      mrn: `MRNSEED '"\\,{}\n🙂`,
      accession_number: "ACCSEEDnull",
      study_uid: "1.2.840",
    });
    async function* source() {
      yield await Promise.resolve(odd);
      yield study(project, 1, { mrn: "null" });
    }
    await ledger.registerStudies(extractId, source());
    const found = (await collect(ledger.unpublished(extractId, "image"))).map(({ id: _, ...rest }) => rest);
    const byProcedure = found.toSorted((a, b) => a.procedure_occurrence_id - b.procedure_occurrence_id);
    assertEquals(byProcedure, [odd, study(project, 1, { mrn: "null" })]);
  });

  check("registerStudies() from ten at once makes no twins and no deadlock", async () => {
    const { sql, ledger, project, extractId } = await withProject(engine, 0);
    const all = studies(project, 1_500);
    const shuffled = (seed: number) => all.toSorted((a, b) => order(a, seed) - order(b, seed));
    const order = (s: Study, seed: number) => (s.procedure_occurrence_id * (7 + seed)) % 1_009;
    const results = await Promise.all(
      Array.from({ length: 10 }, (_, seed) => ledger.registerStudies(extractId, shuffled(seed))),
    );
    assertEquals(results.reduce((sum, { added }) => sum + added, 0), 1_500);
    assertEquals(results.reduce((sum, { known }) => sum + known, 0), 13_500);
    const [count] = await sql<{ images: number; reports: number; studies: number }[]>`
      select (select count(*) from pixl_pipeline.image where slug = ${project}) as images,
        (select count(*) from pixl_pipeline.report where extract_id = ${extractId}) as reports,
        (select studies from pixl_pipeline.extract where extract_id = ${extractId})::bigint as studies`;
    assertEquals(count, { images: 1_500, reports: 1_500, studies: 1_500 });
  });

  check("unpublished() pages, until markPublished()", async () => {
    const { ledger, extractId } = await withProject(engine, 2_100);
    for (const kind of ["image", "report"] as const) {
      const all = await collect(ledger.unpublished(extractId, kind));
      assertEquals(all.length, 2_100);
      assertEquals(new Set(all.map(({ id }) => id)).size, 2_100);
      await ledger.markPublished(kind, all.slice(0, 2_000).map(({ id }) => id));
      assertEquals((await collect(ledger.unpublished(extractId, kind))).length, 100);
    }
  });

  check("unpublished() includes images that another extract registered and did not publish", async () => {
    const { ledger, project, extract } = await withProject(engine, 3);
    const later = await ledger.registerExtract({ ...extract, extract_time: "2024-01-01T00:00:00", time_slug: "later" });
    await ledger.registerStudies(later.extractId, [study(project, 1, { procedure_occurrence_id: 9 })]);
    const [image] = await collect(ledger.unpublished(later.extractId, "image"));
    assertEquals(image?.procedure_occurrence_id, 9);
    assertEquals(image?.extract_generated_timestamp, "2024-01-01T00:00:00");
  });

  check("claim() has exactly one winner", async () => {
    const { ledger, project } = await withProject(engine, 3);
    for (const kind of ["image", "report"] as const) {
      for (let n = 0; n < 3; n++) {
        const claims = await Promise.all(
          Array.from({ length: 12 }, () => ledger.claim(kind, study(project, n), lease())),
        );
        assertEquals(claims.filter(({ result }) => result === "claimed").length, 1);
        for (const claim of claims) {
          if (claim.result === "claimed") continue;
          assert(claim.result === "busy", claim.result);
          assertGreater(claim.forMs, 30_000);
          assertLessOrEqual(claim.forMs, 61_000);
        }
      }
    }
  });

  check("claim() knows what was never registered", async () => {
    const { ledger, project } = await withProject(engine, 1);
    assertEquals(await ledger.claim("image", study(project, 99), lease()), { result: "unknown" });
    assertEquals(await ledger.claim("image", study("elsewhere", 0), lease()), { result: "unknown" });
    const other = study(project, 0, { extract_generated_timestamp: "2000-01-01T00:00:00" });
    assertEquals(await ledger.claim("report", other, lease()), { result: "unknown" });
  });

  check("claim() knows what is done", async () => {
    const { ledger, project } = await withProject(engine, 1);
    const image = await claimed(ledger, "image", study(project, 0));
    await completeImage(ledger, image.id, image.owner, "1.2.3");
    assertEquals(await ledger.claim("image", study(project, 0), lease()), { result: "done" });
    await ledger.recordImageExported(transferOf(image.id));
    assertEquals(await ledger.claim("image", study(project, 0), lease()), { result: "done" });
    const report = await claimed(ledger, "report", study(project, 0));
    await completeReport(ledger, report.id, report.owner, "No findings");
    assertEquals(await ledger.claim("report", study(project, 0), lease()), { result: "done" });
  });

  check("claim() takes a lease over that ran out, and the late finisher is refused", async () => {
    const { sql, ledger, project } = await withProject(engine, 1);
    const late = await claimed(ledger, "image", study(project, 0));
    await sql`update pixl_pipeline.image set lease_until = now() - interval '1 second' where image_id = ${late.id}`;
    const next = await claimed(ledger, "image", study(project, 0));
    assertEquals([next.id, next.attempt], [late.id, 2]);

    await assertRejects(() => ledger.recordPseudonym(late.id, late.owner, "1.9"), LeaseLostError);
    await assertRejects(() => ledger.complete("image", late.id, late.owner), LeaseLostError);
    await assertRejects(() => ledger.putBack("image", late.id, late.owner, "late"), LeaseLostError);
    await assertRejects(() => ledger.renew("image", late.id, { owner: late.owner, leaseMs: 1 }), LeaseLostError);
    await completeImage(ledger, next.id, next.owner, "1.2");
    await assertRejects(() => ledger.complete("image", next.id, next.owner), LeaseLostError);
    const report = await claimed(ledger, "report", study(project, 0));
    await assertRejects(() => ledger.recordReport(report.id, late.owner, "late"), LeaseLostError);
    await assertRejects(() => ledger.complete("report", report.id, late.owner), LeaseLostError);
  });

  check("renew() keeps a lease", async () => {
    const { ledger, project } = await withProject(engine, 1);
    const mine = await claimed(ledger, "report", study(project, 0), lease(1_000));
    await ledger.renew("report", mine.id, { owner: mine.owner, leaseMs: 90_000 });
    const claim = await ledger.claim("report", study(project, 0), lease());
    assert(claim.result === "busy", claim.result);
    assertGreater(claim.forMs, 60_000);
  });

  check("putBack() makes a study wait again", async () => {
    const { ledger, project } = await withProject(engine, 1);
    for (const kind of ["image", "report"] as const) {
      const first = await claimed(ledger, kind, study(project, 0));
      await ledger.putBack(kind, first.id, first.owner, "the archive is closed\0");
      assertEquals((await claimed(ledger, kind, study(project, 0))).attempt, 2);
    }
  });

  check("fail() gives a study up, republish() makes it wait again", async () => {
    const { ledger, project, extractId } = await withProject(engine, 2);
    for (const kind of ["image", "report"] as const) {
      await ledger.markPublished(kind, (await collect(ledger.unpublished(extractId, kind))).map(({ id }) => id));
      await claimed(ledger, kind, study(project, 0));
      assertEquals(await ledger.fail(kind, study(project, 0), "no such study"), true);
      assertEquals(await ledger.fail(kind, study(project, 0), "no such study"), false);
      assertEquals(await ledger.fail(kind, study(project, 1), "no such study"), true);

      await claimed(ledger, kind, study(project, 1));
      assertEquals(await ledger.republish(kind, extractId, "failed"), 1);
      assertEquals((await collect(ledger.unpublished(extractId, kind))).map((s) => s.accession_number), [
        "ACCSEED000000",
      ]);
      await claimed(ledger, kind, study(project, 0));
    }
  });

  check("recordPseudonym() refuses a pseudonym twice in a project, without saying whose", async () => {
    const { ledger, project } = await withProject(engine, 2);
    const [first, second] = [
      await claimed(ledger, "image", study(project, 0)),
      await claimed(ledger, "image", study(project, 1)),
    ];
    await completeImage(ledger, first.id, first.owner, "1.2.3");
    const error = await assertRejects(() => ledger.recordPseudonym(second.id, second.owner, "1.2.3"), DatabaseError);
    assertEquals([error.code, error.kind], ["value-refused", "input"]);
    assertNotMatch(error.message, /SEED/);
    await completeImage(ledger, second.id, second.owner, "1.2.4");
  });

  check("unexport() sets an exported image back, to be sent or asked for again", async () => {
    const { ledger, project, extractId } = await withProject(engine, 1);
    const { id, owner } = await claimed(ledger, "image", study(project, 0));
    assertEquals(await ledger.unexport(id, "done"), false);
    await completeImage(ledger, id, owner, `1.2.${id}`);
    await ledger.recordImageExported(transferOf(id));

    assertEquals(await ledger.unexport(id, "done"), true);
    assertEquals((await collect(ledger.imagesToUpload({ projectSlug: project }))).map(({ imageId }) => imageId), [id]);
    await ledger.recordImageExported(transferOf(id));
    assertEquals((await ledger.imagesOf([`1.2.${id}`])).map(({ state }) => state), ["exported"]);

    assertEquals(await ledger.unexport(id, "queued"), true);
    assertEquals((await collect(ledger.pseudonymised(project))).map(({ state }) => state), ["queued"]);
    assertEquals((await collect(ledger.unpublished(extractId, "image"))).length, 1);
    assertEquals((await claimed(ledger, "image", study(project, 0))).id, id);
  });

  check("claimUpload() gives a path to one uploader at a time, and what the one before had noted", async () => {
    const { ledger, project } = await withProject(engine, 0);
    const path = `${project}/x.zip`;
    const [one, two] = [{ owner: "one", leaseMs: 60_000 }, { owner: "two", leaseMs: 60_000 }];
    const claim = (lease: Lease, name: string) => ledger.claimUpload("dsh:21", path, name, lease);
    const part = { name: ".x.zip.0badcafe.part", source: "10,20", bytes: 16, sha256: "a".repeat(64) };

    assertEquals([(await claim(one, part.name))?.name, (await claim(one, part.name))?.bytes], [part.name, 0]);
    assertEquals(await claim(two, "other"), undefined);
    assertEquals((await ledger.claimUpload("other:21", path, "there", two))?.name, "there");
    await ledger.notePart("dsh:21", path, part, "one");
    await ledger.notePart("dsh:21", path, { ...part, bytes: 17 }, "two");
    await ledger.releaseUpload("dsh:21", path, "two");
    assertEquals(await claim(two, "other"), undefined);

    await ledger.releaseUpload("dsh:21", path, "one");

    assertEquals(await claim(two, "other"), part);
    await ledger.forgetPart("dsh:21", path, "one");
    assertEquals(await claim(one, "other"), undefined);
    await ledger.forgetPart("dsh:21", path, "two");
    await ledger.forgetPart("dsh:21", path, "two");
    assertEquals((await claim(one, "other"))?.name, "other");
  });

  check("claimUpload() takes over what shows no sign of life, and renewUpload() tells the late one", async () => {
    const { ledger, project } = await withProject(engine, 0);
    const path = `${project}/x.zip`;
    const [one, two] = [{ owner: "one", leaseMs: 0 }, { owner: "two", leaseMs: 60_000 }];
    await ledger.claimUpload("dsh:21", path, "first", one);
    await ledger.renewUpload("dsh:21", path, one);

    assertEquals((await ledger.claimUpload("dsh:21", path, "second", two))?.name, "first");

    await ledger.renewUpload("dsh:21", path, two);
    await assertRejects(() => ledger.renewUpload("dsh:21", path, one), LeaseLostError, path);
  });

  check("claimUpload() lets one of many win", async () => {
    const { ledger, project } = await withProject(engine, 0);
    const claims = await Promise.all(
      Array.from(
        { length: 8 },
        (_, n) => ledger.claimUpload("dsh:21", `${project}/x.zip`, `${n}`, { owner: `${n}`, leaseMs: 60_000 }),
      ),
    );
    assertEquals(claims.filter((claim) => claim !== undefined).length, 1);
  });

  check("transfersTo() gives the last of each path of a project at a destination", async () => {
    const { ledger, project } = await withProject(engine, 0);
    const { imageId: _, ...transfer } = transferOf(0);
    const send = (path: string, sha256: string, destination = "dsh:21") =>
      ledger.recordTransfer({ ...transfer, path, sha256: sha256.repeat(64), destination });
    await send(`${project}/b`, "1");
    await send(`${project}/b`, "2");
    await send(`${project}/a`, "3");
    await send(`${project}-other/a`, "4");
    await send(`${project}/c`, "5", "other:21");

    assertEquals(
      (await ledger.transfersTo("dsh:21", project)).map(({ path, sha256 }) => [path, sha256.slice(0, 1)]),
      [[`${project}/a`, "3"], [`${project}/b`, "2"]],
    );
  });

  for (const kind of ["image", "report"] as const) {
    check(`a ${kind} goes from one state to another only as the database allows, whoever says so`, async () => {
      const { sql, project } = await withProject(engine, 1);
      const { image_id } = await imageOf(sql, project);
      const legal = LEGAL.filter(([from, to]) => kind === "image" || ![from, to].includes("exported"));
      const states = [...new Set(legal.flat())];
      // The shortest way from queued, so that every state is where a change begins.
      const ways: Readonly<Record<string, readonly string[]>> = {
        working: ["working"],
        failed: ["failed"],
        done: ["working", "done"],
        exported: ["working", "done", "exported"],
      };
      const undo = new Error("undo");
      for (const from of states) {
        for (const to of [...states, "exported", "lost"]) {
          const tried = await assertRejects(() =>
            sql.begin(async (tx) => {
              for (const state of ways[from] ?? []) await stepIn(tx, state);
              const before = await eventsOf(tx);
              await stepIn(tx, to);
              assertEquals(await eventsOf(tx) - before, from === to ? 0 : 1, `${from} to ${to}`);
              throw undo;
            }), Error);
          const allowed = from === to || legal.some(([a, b]) => a === from && b === to);
          if (allowed) assertEquals(tried, undo, `${from} to ${to}: ${tried.message}`);
          else assertMatch(tried.message, new RegExp(`${kind} cannot go from ${from} to ${to}`));
        }
      }

      async function stepIn(tx: Queryable, state: string): Promise<void> {
        const leased = state === "working";
        const values = tx`state = ${state}, lease_owner = ${leased ? "x" : null},
          lease_until = ${leased ? "infinity" : null}::timestamptz`;
        await (kind === "image"
          ? tx`update pixl_pipeline.image set ${values}, pseudo_study_uid = ${`1.${project}`} where image_id = ${image_id}`
          : tx`update pixl_pipeline.report set ${values}, image_report = 'text' where image_id = ${image_id}`);
      }

      async function eventsOf(tx: Queryable): Promise<number> {
        const [row] = await tx<{ count: number }[]>`
          select count(*) as count from pixl_pipeline.event where image_id = ${image_id}`;
        return row?.count ?? 0;
      }
    });
  }

  for (
    const [what, change, code] of [
      [
        "an image that begins as done",
        (sql, { extractId }) =>
          sql`insert into pixl_pipeline.image (slug, extract_id, mrn, accession_number, study_date, procedure_occurrence_id, state,
          pseudo_study_uid) values ('s', ${extractId}, 'm', 'a', '2020-01-01', 1, 'done', '1.2')`,
        "PX001",
      ],
      [
        "an image of no extract",
        (sql) =>
          sql`insert into pixl_pipeline.image (slug, extract_id, mrn, accession_number, study_date, procedure_occurrence_id)
          values ('s', 9007199254740991, 'm', 'a', '2020-01-01', 1)`,
        "23503",
      ],
      [
        "a report of no extract",
        (sql, { imageId }) =>
          sql`insert into pixl_pipeline.report (extract_id, image_id, procedure_occurrence_id)
          values (9007199254740991, ${imageId}, 1)`,
        "23503",
      ],
      [
        "a report of no image",
        (sql, { extractId }) =>
          sql`insert into pixl_pipeline.report (extract_id, image_id, procedure_occurrence_id)
          values (${extractId}, 9007199254740991, 1)`,
        "23503",
      ],
      [
        "an image that goes to another extract",
        (sql, { imageId }) =>
          sql`update pixl_pipeline.image set extract_id = 9007199254740991 where image_id = ${imageId}`,
        "PX001",
      ],
      [
        "a report that goes to another image",
        (sql, { imageId }) =>
          sql`update pixl_pipeline.report set image_id = 9007199254740991 where image_id = ${imageId}`,
        "PX001",
      ],
      [
        "an image that is removed",
        (sql, { imageId }) => sql`delete from pixl_pipeline.image where image_id = ${imageId}`,
        "PX001",
      ],
      [
        "an extract that is removed",
        (sql, { extractId }) => sql`delete from pixl_pipeline.extract where extract_id = ${extractId}`,
        "PX001",
      ],
      ["tables that are emptied", (sql) => sql`truncate pixl_pipeline.extract cascade`, "PX001"],
      [
        "an image in work without a lease",
        (sql, { imageId }) => sql`update pixl_pipeline.image set state = 'working' where image_id = ${imageId}`,
        "PX001",
      ],
      [
        "an image with a lease that waits",
        (sql, { imageId }) =>
          sql`update pixl_pipeline.image set lease_owner = 'x', lease_until = now() where image_id = ${imageId}`,
        "PX001",
      ],
      [
        "an event that is changed",
        (sql, { imageId }) => sql`update pixl_pipeline.event set what = 'x' where image_id = ${imageId}`,
        "PX001",
      ],
      ["events that are removed", (sql) => sql`delete from pixl_pipeline.event`, "PX001"],
    ] satisfies readonly (readonly [string, BadChange, string])[]
  ) {
    check(`the database refuses ${what}, whoever asks for it`, async () => {
      const { sql, extractId, project } = await withProject(engine, 1);
      const { image_id: imageId } = await imageOf(sql, project);
      const error = await assertRejects(async () => await change(sql, { extractId, imageId }), Error);
      assertEquals("code" in error && error.code, code, error.message);
    });
  }

  check("complete() needs the pseudonym or the text first, which cannot be taken away after it", async () => {
    const { sql, ledger, project } = await withProject(engine, 1);
    for (const kind of ["image", "report"] as const) {
      const { id, owner } = await claimed(ledger, kind, study(project, 0));
      const error = await assertRejects(() => ledger.complete(kind, id, owner), DatabaseError);
      assertEquals(error.code, "transition-refused");
      await (kind === "image" ? completeImage : completeReport)(ledger, id, owner, "1.2.3");
    }
    for (
      const take of [
        () => sql`update pixl_pipeline.image set pseudo_study_uid = null where slug = ${project}`,
        () => sql`update pixl_pipeline.report set image_report = null where state = 'done'`,
      ]
    ) await assertRejects(async () => await take(), Error, "to be done");
  });

  check("recordPseudonym() makes a study in work findable", async () => {
    const { ledger, project } = await withProject(engine, 1);
    const { id, owner } = await claimed(ledger, "image", study(project, 0));
    await ledger.recordPseudonym(id, owner, `1.2.${project}`);
    assertEquals((await ledger.history(`1.2.${project}`)).map(({ state }) => state), ["working"]);
  });

  check("imagesToUpload() lists what is done, of a project or all", async () => {
    const { ledger, project } = await withProject(engine, 4);
    for (const n of [0, 1, 2]) {
      const { id, owner } = await claimed(ledger, "image", study(project, n));
      await completeImage(ledger, id, owner, `1.2.${n}`);
      if (n === 2) await ledger.recordImageExported(transferOf(id));
    }
    const mine = await collect(ledger.imagesToUpload({ projectSlug: project }));
    assertEquals(mine.map(({ imageId: _, ...rest }) => rest), [
      { projectSlug: project, pseudo_study_uid: "1.2.0" },
      { projectSlug: project, pseudo_study_uid: "1.2.1" },
    ]);
    const all = await collect(ledger.imagesToUpload());
    assertEquals(all.filter(({ projectSlug }) => projectSlug === project), mine);
  });

  check("reports() lists finished reports by procedure, with the pseudonym where there is one", async () => {
    const { ledger, project, extractId } = await withProject(engine, 3);
    for (const [n, text] of [[2, "two"], [0, ""]] as const) {
      const { id, owner } = await claimed(ledger, "report", study(project, n));
      await completeReport(ledger, id, owner, text);
    }
    const image = await claimed(ledger, "image", study(project, 2));
    await completeImage(ledger, image.id, image.owner, "1.2.3");
    assertEquals(await collect(ledger.reports(extractId)), [
      { procedure_occurrence_id: 1_000, image_identifier: null, image_report: "" },
      { procedure_occurrence_id: 1_002, image_identifier: "1.2.3", image_report: "two" },
    ]);
  });

  check("markExported() needs a recorded transfer and may be repeated", async () => {
    const { sql, ledger, project } = await withProject(engine, 1);
    const { id, owner } = await claimed(ledger, "image", study(project, 0));
    await completeImage(ledger, id, owner, "1.2.3");
    const error = await assertRejects(() => ledger.markExported(id), DatabaseError, "no transfer of it is recorded");
    assertEquals(error.code, "transition-refused");
    await ledger.recordTransfer(transferOf(id));
    await ledger.markExported(id, { at: "2024-02-29T12:00:00Z" });
    await ledger.markExported(id);
    const [row] = await sql<{ at: string }[]>`select exported_at as at from pixl_pipeline.image where image_id = ${id}`;
    assertEquals(row?.at, "2024-02-29 12:00:00+00");
    await assertRejects(() => ledger.markExported(9_999_999), DatabaseError, "there is no such image");
  });

  check("recordImageExported() is whole or nothing", async () => {
    const { ledger, project } = await withProject(engine, 1);
    const { id } = await claimed(ledger, "image", study(project, 0));
    const error = await assertRejects(() => ledger.recordImageExported(transferOf(id)), DatabaseError);
    assertEquals(error.code, "transition-refused");
    assertEquals(await ledger.findTransfer("dsh:21", `p/${id}.zip`), undefined);
  });

  check("findTransfer() gives the last content of a path, also one that came back; rows never change", async () => {
    const { sql, ledger, project, extractId } = await withProject(engine, 0);
    const path = `${project}/person.parquet`;
    const transfer = {
      extractId,
      destination: "dsh:21",
      path,
      bytes: 2 ** 40,
      sha256: "a".repeat(64),
      verifiedBy: "size",
      version: "1",
    };
    await ledger.recordTransfer(transfer);
    await ledger.recordTransfer(transfer);
    await ledger.recordTransfer({ ...transfer, sha256: "b".repeat(64) });
    const found = await ledger.findTransfer("dsh:21", path);
    assertEquals([found?.sha256, found?.bytes, found?.extractId], ["b".repeat(64), 2 ** 40, extractId]);
    const rows = async () => (await sql`select from pixl_pipeline.transfer where path = ${path}`).length;
    assertEquals(await rows(), 2);
    await Promise.all([1, 2, 3].map(() => ledger.recordTransfer(transfer)));
    assertEquals([(await ledger.findTransfer("dsh:21", path))?.sha256, await rows()], [transfer.sha256, 3]);
    assertEquals(await ledger.findTransfer("dsh:22", path), undefined);
    for (const change of ["update pixl_pipeline.transfer set bytes = 0", "delete from pixl_pipeline.transfer"]) {
      await assertRejects(async () => await sql.unsafe(change), Error, "never changed");
    }
    const error = await assertRejects(() => ledger.recordTransfer({ ...transfer, sha256: "A" }), DatabaseError);
    assertEquals(error.code, "value-refused");
  });

  check("summary() counts by project, kind and state", async () => {
    const { ledger, project } = await withProject(engine, 3);
    const { id, owner } = await claimed(ledger, "image", study(project, 0));
    await completeImage(ledger, id, owner, "1.2.3");
    await ledger.fail("report", study(project, 1), "refused");
    assertEquals(await ledger.summary(project), [
      { projectSlug: project, kind: "image", state: "done", count: 1 },
      { projectSlug: project, kind: "image", state: "queued", count: 2 },
      { projectSlug: project, kind: "report", state: "failed", count: 1 },
      { projectSlug: project, kind: "report", state: "queued", count: 2 },
    ]);
    assertEquals((await ledger.summary()).filter(({ projectSlug }) => projectSlug === project).length, 4);
  });

  for (const [name, method] of Object.entries(CALLS)) {
    check(`${name}() takes a transaction and a signal`, async () => {
      const { sql, ledger, project, extractId } = await withProject(engine, 1);
      const { id, owner } = await claimed(ledger, "image", study(project, 0));
      const given = { ledger, project, extractId, imageId: id, owner };
      const reason = new Error("stop");
      assertEquals(await assertRejects(() => method(given, { signal: AbortSignal.abort(reason) })), reason);

      const undo = new Error("undo");
      let seen: number | undefined;
      const error = await assertRejects(() =>
        sql.begin(async (transaction) => {
          const counted = countQueries(transaction);
          // Some of them are refused here, which says that they have asked.
          await method(given, { transaction: counted.sql }).catch(() => {});
          seen = counted.count;
          throw undo;
        })
      );
      assertEquals(error, undo);
      assertGreater(seen ?? 0, 0);
    });
  }

  check("calls within a transaction are undone with it", async () => {
    const { sql, ledger, project } = await withProject(engine, 1);
    const problem = new Error("undo");
    const error = await assertRejects(() =>
      sql.begin(async (transaction) => {
        assertEquals((await ledger.claim("image", study(project, 0), lease(), { transaction })).result, "claimed");
        throw problem;
      })
    );
    assertEquals(error, problem);
    assertEquals((await claimed(ledger, "image", study(project, 0))).attempt, 1);
  });

  check("history() tells what became of a study, by its accession number or its pseudonym", async () => {
    const { ledger, project, extractId } = await withProject(engine, 2);
    const accession = `ACCSEED-${crypto.randomUUID()}`;
    const wanted = study(project, 9, { accession_number: accession });
    await ledger.registerStudies(extractId, [wanted]);
    assertEquals((await ledger.history(accession)).map(({ state, attempts }) => [state, attempts]), [["queued", 0]]);
    const [image] = (await collect(ledger.unpublished(extractId, "image"))).slice(-1);
    await ledger.markPublished("image", [image?.id ?? 0]);
    const first = await claimed(ledger, "image", wanted);
    await ledger.putBack("image", first.id, first.owner, "status 503");
    const { id, owner } = await claimed(ledger, "image", wanted);
    const pseudonym = `2.25.${Date.now()}`;
    await completeImage(ledger, id, owner, pseudonym);
    await ledger.fail("report", wanted, "status 404");
    await ledger.recordImageExported(transferOf(id));

    const [history, ...others] = await ledger.history(accession);

    assert(history !== undefined);
    assertEquals(others, []);
    assertEquals(await ledger.history(pseudonym), [history]);
    const { projectSlug, state, attempts, pseudo_study_uid, exportedAt, events, reports, transfers } = history;
    assertEquals([projectSlug, state, attempts, pseudo_study_uid], [project, "exported", 2, pseudonym]);
    assertMatch(exportedAt ?? "", /^\d{4}-\d\d-\d\d /);
    assertEquals(history.study_date, "2020-02-29");
    assertEquals(events.map(({ what, detail = "" }) => `${what} ${detail}`.trim()), [
      "image published",
      "image working",
      "image queued status 503",
      "image working",
      "image done",
      "report failed status 404",
      "image exported",
    ]);
    assertEquals(reports, [{
      extractTime: TIME,
      procedure_occurrence_id: 1_009,
      state: "failed",
      attempts: 0,
      lastError: "status 404",
    }]);
    assertEquals(transfers.map(({ path, bytes }) => [path, bytes]), [[`p/${id}.zip`, 5]]);
    assertNotMatch(JSON.stringify(history), /SEED/);
  });

  check("history() of a study that nobody knows is empty", async () => {
    const { ledger } = await withProject(engine, 0);
    assertEquals(await ledger.history("unknown"), []);
  });

  check("history() keeps every publication of a study", async () => {
    const { ledger, project, extractId } = await withProject(engine, 1);
    const publish = async () =>
      await ledger.markPublished("image", (await collect(ledger.unpublished(extractId, "image"))).map(({ id }) => id));
    await publish();
    const { id, owner } = await claimed(ledger, "image", study(project, 0));
    await ledger.recordPseudonym(id, owner, `1.2.${project}`);
    await ledger.fail("image", study(project, 0), "status 404");
    await ledger.republish("image", extractId, "failed");
    await publish();
    assertEquals((await ledger.history(`1.2.${project}`)).flatMap(({ events }) => events.map(({ what }) => what)), [
      "image published",
      "image working",
      "image failed",
      "image queued",
      "image published",
    ]);
  });

  check("registerStudies() keeps the extract's layout and counts", async () => {
    const { ledger, project, extract } = await withProject(engine, 0);
    const { extractId } = await ledger.registerExtract({ ...extract, layout: "public/X.parquet" });
    await ledger.registerStudies(extractId, studies(project, 2), { leftOut: () => ({ duplicate: 3 }) });
    const [row] = await ledger.extracts(project);
    assertEquals([row?.layout, row?.studies, row?.leftOut], ["public/X.parquet", 2, { duplicate: 3 }]);
  });

  check("failures() counts by reason, sent() by day, unfinished() lists what is missing", async () => {
    const { ledger, project } = await withProject(engine, 1_203);
    for (const [n, reason] of [[0, "status 404"], [1, "status 404"], [2, "status 410"]] as const) {
      await ledger.fail("image", study(project, n), reason);
    }
    await ledger.fail("report", study(project, 0), "status 404");
    for (const n of [3, 4]) {
      const { id, owner } = await claimed(ledger, "image", study(project, n));
      await completeImage(ledger, id, owner, `1.2.${n}`);
      if (n === 3) await ledger.recordImageExported(transferOf(id));
    }

    assertEquals([...await ledger.failures(project)].map((row) => ({ ...row })), [
      { kind: "image", reason: "status 404", count: 2 },
      { kind: "image", reason: "status 410", count: 1 },
      { kind: "report", reason: "status 404", count: 1 },
    ]);
    assertEquals([...await ledger.sent(project)].map((row) => ({ ...row })), [
      { destination: "dsh:21", day: new Date().toISOString().slice(0, 10), files: 1, bytes: 5 },
    ]);
    const unfinished = await collect(ledger.unfinished(project));
    assertEquals(unfinished.length, 1_202 + 1_203);
    assertEquals(
      unfinished.filter(({ state }) => state !== "queued").map((
        { kind, state, lastError },
      ) => [kind, state, lastError]),
      [
        ["image", "failed", "status 404"],
        ["image", "failed", "status 404"],
        ["image", "failed", "status 410"],
        ["image", "done", undefined],
        ["report", "failed", "status 404"],
      ],
    );
    assertNotMatch(JSON.stringify(unfinished), /SEED/);
  });

  check("republish() of what is unfinished takes over what a dead consumer left", async () => {
    const { ledger, project, extractId } = await withProject(engine, 4);
    const ids = (await collect(ledger.unpublished(extractId, "image"))).map(({ id }) => id);
    await ledger.markPublished("image", ids);
    await claimed(ledger, "image", study(project, 0), lease(1));
    await claimed(ledger, "image", study(project, 1));
    await ledger.fail("image", study(project, 2), "status 404");
    await new Promise((resolve) => setTimeout(resolve, 20));

    assertEquals(await ledger.republish("image", extractId, "unfinished"), 3);

    const again = (await collect(ledger.unpublished(extractId, "image"))).map(({ procedure_occurrence_id }) =>
      procedure_occurrence_id
    );
    assertEquals(again.sort(), [1_000, 1_002, 1_003]);
  });

  check("every change of state leaves an event without identifiers", async () => {
    const { sql, ledger, project } = await withProject(engine, 1);
    const first = await claimed(ledger, "image", study(project, 0));
    await ledger.putBack("image", first.id, first.owner, "closed");
    const { id, owner } = await claimed(ledger, "image", study(project, 0));
    await completeImage(ledger, id, owner, "1.2.3");
    const events = await sql<{ what: string; consumer: string; detail: string | null }[]>`
      select what, consumer, detail from pixl_pipeline.event where image_id = ${id} order by event_id`;
    assertEquals([...events], [
      { what: "image working", consumer: first.owner, detail: null },
      { what: "image queued", consumer: first.owner, detail: "closed" },
      { what: "image working", consumer: owner, detail: null },
      { what: "image done", consumer: owner, detail: null },
    ]);
  });

  check("no error says whom it is about", async () => {
    const { ledger, project, extractId } = await withProject(engine, 1);
    const bad = study(project, 1, { study_date: "MRNSEED-is-no-date" });
    for (
      const run of [
        () => ledger.claim("image", bad, lease()),
        () => ledger.registerStudies(extractId, [bad]),
        () => ledger.claim("image", study(project, 0, { mrn: "MRNSEED\0" }), lease()),
      ]
    ) {
      const error = await assertRejects(run, DatabaseError);
      assertEquals(error.code, "value-refused");
      assertNotMatch(error.message, /SEED/);
    }
  });
});
