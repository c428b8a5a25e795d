import { assert, assertEquals, assertGreaterOrEqual } from "@std/assert";
import { Ledger, SharedRate, type Study, type StudyKind } from "@pixl/core/database";
import { type Engine, onEachEngine } from "../support/databases.ts";

const TIME = "2023-12-07T14:08:58";
const LONG_AGO = "2020-01-01T00:00:00.000Z";
const LATER = "2999-01-01T00:00:00.000Z";

/** A ledger, and a project of its own with so many studies. */
async function withProject(engine: Engine, count: number) {
  const database = await engine.database();
  const ledger = new Ledger(database);
  const project = `project-${crypto.randomUUID()}`;
  const { extractId } = await ledger.registerExtract({
    project_name: "A Project",
    project_slug: project,
    extract_time: TIME,
    time_slug: "2023-12-07t14-08-58",
  });
  const studies = Array.from({ length: count }, (_, n): Study => ({
    mrn: `MRNSEED${n}`,
    accession_number: `ACCSEED${n}`,
    study_date: "2020-02-29",
    procedure_occurrence_id: n,
    project_name: project,
    extract_generated_timestamp: TIME,
  }));
  await ledger.registerStudies(extractId, studies);
  const publish = async (kind: StudyKind) => {
    const waiting = await Array.fromAsync(ledger.unpublished(extractId, kind));
    await ledger.markPublished(kind, waiting.map(({ id }) => id));
  };
  const states = async (kind: StudyKind) => {
    const counts = (await ledger.summary(project)).filter((count) => count.kind === kind);
    return Object.fromEntries(counts.map(({ state, count }) => [state, count]));
  };
  const claim = async (kind: StudyKind, study: Study) => {
    const owner = crypto.randomUUID();
    const claimed = await ledger.claim(kind, study, { owner, leaseMs: 60_000 });
    assert(claimed.result === "claimed", claimed.result);
    return { id: claimed.id, owner };
  };
  return { ledger, database, project, extractId, studies, publish, states, claim };
}

onEachEngine((engine) => {
  for (const kind of ["image", "report"] as const) {
    const check = (name: string, run: () => Promise<void>) =>
      engine.test(`Ledger.${name} (${kind}, ${engine.name})`, run);

    check("askAgain() lets what failed wait, and nothing else; it is not published anew", async () => {
      const { ledger, extractId, studies, publish, states, claim } = await withProject(engine, 4);
      await publish(kind);
      const [failed, working, queued, other] = studies;
      assert(failed !== undefined && working !== undefined && queued !== undefined && other !== undefined);
      await ledger.fail(kind, failed, "status 404");
      await ledger.fail(kind, other, "status 404");
      await claim(kind, working);
      const unknown = { ...failed, accession_number: "ACCSEEDunknown" };

      assertEquals(await ledger.askAgain(kind, [failed, failed, working, queued, unknown]), 1);

      assertEquals(await states(kind), { failed: 1, queued: 2, working: 1 });
      assertEquals(await Array.fromAsync(ledger.unpublished(extractId, kind)), []);
      await claim(kind, failed);
    });

    check("superseded() is true of what was published since, is in work or is done", async () => {
      const { ledger, extractId, studies, publish, claim } = await withProject(engine, 8);
      await publish(kind);
      const [failed, queued, republished, unpublished, working, done, again, abandoned] = studies;
      assert(failed && queued && republished && unpublished && working && done && again && abandoned);
      await ledger.fail(kind, failed, "status 404");
      for (const study of [republished, again]) await ledger.fail(kind, study, "status 404");
      await ledger.republish(kind, extractId, "failed");
      await publish(kind);
      for (const study of [failed, again]) await ledger.fail(kind, study, "status 500");
      await ledger.askAgain(kind, [again]);
      await claim(kind, working);
      await ledger.claim(kind, abandoned, { owner: "dead", leaseMs: -1_000 });
      const { id, owner } = await claim(kind, done);
      if (kind === "image") await ledger.recordPseudonym(id, owner, `2.25.${id}`);
      else await ledger.recordReport(id, owner, "Report");
      await ledger.complete(kind, id, owner);
      await ledger.fail(kind, unpublished, "status 404");
      await ledger.republish(kind, extractId, "failed");

      const letters = [
        { ...failed, diedAt: LONG_AGO },
        { ...queued, diedAt: LATER },
        { ...republished, diedAt: LONG_AGO },
        { ...unpublished, diedAt: LONG_AGO },
        { ...working, diedAt: LATER },
        { ...done, diedAt: LATER },
        { ...again, diedAt: LATER },
        { ...again, mrn: "MRNSEEDunknown", diedAt: LONG_AGO },
        { ...abandoned, diedAt: LATER },
      ];
      // What failed last was set back by republish() and waits to be published: its dead letter is still the last message there is.
      const answers = [false, false, true, false, true, true, false, false, false];
      assertEquals(await ledger.superseded(kind, letters), answers);
      assertEquals(await ledger.superseded(kind, letters.toReversed()), answers.toReversed());
    });
  }

  engine.test(`Ledger.inHand() counts what is claimed and not abandoned (${engine.name})`, async () => {
    const { ledger, studies, claim } = await withProject(engine, 3);
    const before = await ledger.inHand();
    const [first, second, third] = studies;
    assert(first && second && third);
    await claim("image", first);
    await claim("image", second);
    await claim("report", first);
    await ledger.claim("report", third, { owner: "dead", leaseMs: -1_000 });
    const after = await ledger.inHand();
    assertEquals([after.image - before.image, after.report - before.report], [2, 1]);
    assertGreaterOrEqual(before.image, 0);
  });

  engine.test(`Ledger.queues() names those that were declared or rated (${engine.name})`, async () => {
    const database = await engine.database();
    const ledger = new Ledger(database);
    const [rated, declared] = [`rated-${crypto.randomUUID()}`, `declared-${crypto.randomUUID()}`];
    await new SharedRate(database, rated, { rate: 5, capacity: 5 }).set({ rate: 1 });
    await database.sql`insert into pixl_pipeline.queue (queue) values (${declared}), (${rated})`;
    const queues = await ledger.queues();
    assertEquals(queues.filter((name) => name === rated || name === declared), [declared, rated]);
  });
});
