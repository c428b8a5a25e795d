/** Run by database.ts: registers a million studies from a generator, and prints the most memory that took, in bytes. */
import { Ledger, openDatabase } from "@pixl/core/database";

const [options = ""] = Deno.args;
const STUDIES = 1_000_000;

let most = 0;
const timer = setInterval(() => most = Math.max(most, Deno.memoryUsage().rss), 20);
await using database = await openDatabase(JSON.parse(options));
const ledger = new Ledger(database);
const extract = {
  project_name: "Million",
  project_slug: "million",
  extract_time: "2026-01-01T00:00:00",
  time_slug: "2026-01-01t00-00-00",
};
const { extractId } = await ledger.registerExtract(extract);
await ledger.registerStudies(
  extractId,
  function* () {
    for (let n = 0; n < STUDIES; n++) {
      yield {
        mrn: `M${n % 10_000}`,
        accession_number: `A${n}`,
        study_date: "2020-02-29",
        procedure_occurrence_id: n,
        project_name: extract.project_slug,
        extract_generated_timestamp: extract.extract_time,
      };
    }
  }(),
);
clearInterval(timer);
Deno.stdout.writeSync(new TextEncoder().encode(String(most)));
