import { assertEquals, assertNotMatch } from "@std/assert";
import { Ledger, migrate } from "@pixl/core/database";
import { studyHandler } from "../../src/pipeline/study_handler.ts";
import { onEachEngine } from "../support/databases.ts";
import { study } from "../support/scripted_broker.ts";

onEachEngine((engine) => {
  /** What becomes of two studies whose service gives these pseudonyms. */
  const outcomes = async (pseudonyms: readonly string[]) => {
    const database = await engine.database();
    await migrate(database);
    const ledger = new Ledger(database);
    const project = `project-${crypto.randomUUID()}`;
    const studies = pseudonyms.map((_, n) =>
      study({ project_name: project, mrn: "MRNSEED1", accession_number: `ACCSEED-${n}`, procedure_occurrence_id: n })
    );
    const { extractId } = await ledger.registerExtract({
      project_name: project,
      project_slug: project,
      extract_time: study().extract_generated_timestamp,
      time_slug: "some-time",
    });
    await ledger.registerStudies(extractId, studies);
    const results = [];
    for (const [n, message] of studies.entries()) {
      const service = () => Promise.resolve({ kind: "done", reply: { pseudo_study_uid: pseudonyms[n] } } as const);
      const handler = studyHandler(ledger, "image", service, { owner: "test" });
      results.push(await handler(message, { attempt: 1, messageId: "id", signal: new AbortController().signal }));
    }
    return results;
  };

  for (
    const [what, pseudonym] of Object.entries({
      "the MRN": "MRNSEED1",
      "it in small letters": "mrnseed1",
      "the accession number": "ACCSEED-0",
      "a text with it": "1.2.MRNSEED1.3",
    })
  ) {
    engine.test(`studyHandler() gives up a study whose pseudonym is ${what} (${engine.name})`, async () => {
      const [outcome] = await outcomes([pseudonym]);
      assertEquals(outcome?.kind, "discard");
      assertNotMatch(JSON.stringify(outcome), /SEED/);
    });
  }

  engine.test(`studyHandler() gives up a study whose pseudonym is another's, without asking again (${engine.name})`, async () => {
    const [first, second] = await outcomes(["2.25.77", "2.25.77"]);
    assertEquals([first, second], [
      { kind: "done" },
      { kind: "discard", reason: "the reply's 'pseudo_study_uid' is that of another study" },
    ]);
  });
});
