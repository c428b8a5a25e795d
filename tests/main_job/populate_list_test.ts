import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { pixl, pixlJson } from "../support/pixl.ts";
import { openSite } from "../support/site.ts";

interface Populated {
  readonly extracts: readonly {
    readonly project: string;
    readonly extract: string;
    readonly studies: number;
    readonly added: number;
    readonly published: Readonly<Record<string, number>>;
    readonly dropped: Readonly<Record<string, number>>;
  }[];
}

const HEAD = "project_name,mrn,accession_number,study_date,procedure_occurrence_id,extract_generated_timestamp";

Deno.test("pixl populate takes a CSV file of studies of several projects, and nothing of one with a wrong line", async () => {
  await using site = await openSite({ studies: 2, embedded: true });
  const path = join(site.exportDir, "..", "studies.csv");
  const lines = [
    HEAD,
    "Project One,MRNSEED1,ACCSEED1,2020-05-23,1,2023-12-07T14:08:58",
    "Project Two,MRNSEED1,ACCSEED1,2020-05-23,1,2024-01-01T00:00:00Z",
    "Project One,MRNSEED2,ACCSEED2,2020-05-24,2,2023-12-07T14:08:58",
    "Project One,MRNSEED2,,2020-05-24,3,2023-12-07T14:08:58",
  ];
  await Deno.writeTextFile(path, [...lines, "Project Three,MRNSEED3,ACCSEED3,2020-02-30,4,2024"].join("\n"));
  const wrong = await pixl(["populate", path], site);
  assertEquals(wrong.code, 3, wrong.stderr);
  assertStringIncludes(wrong.stderr, "line 6");

  await Deno.writeTextFile(path, lines.join("\n"));
  const first = await pixlJson<Populated>(["populate", path], site);
  const none = { noAccessionNumber: 0, unknownPerson: 0, noStudyDate: 0, unusable: 0, duplicate: 0 };
  assertEquals(first.extracts.map(({ project, extract, studies, added }) => [project, extract, studies, added]), [
    ["project-one", "2023-12-07t14-08-58", 2, 2],
    ["project-two", "2024-01-01t00-00-00-00-00", 1, 1],
  ]);
  assertEquals(first.extracts.map(({ dropped }) => dropped), [{ ...none, noAccessionNumber: 1 }, none]);
  assertEquals(first.extracts.map(({ published }) => published), [{ pacs: 2, ehr: 2 }, { pacs: 1, ehr: 1 }]);

  const again = await pixlJson<Populated>(["populate", path], site);
  assertEquals(again.extracts.map(({ published }) => published), [{ pacs: 0, ehr: 0 }, { pacs: 0, ehr: 0 }]);
});
