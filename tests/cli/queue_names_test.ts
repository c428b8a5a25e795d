import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../src/cli/errors.ts";
import { queueKinds, queuesToFill } from "../../src/cli/queue_names.ts";

Deno.test("queueKinds() knows what pacs and ehr are for, and takes others with their kind", () => {
  assertEquals([...queueKinds(["pacs", " ehr", "mri=image"])], [["pacs", "image"], ["ehr", "report"], [
    "mri",
    "image",
  ]]);
});

for (const word of ["pacz", "EHR", "amq.pacs", "a b", "pacs=both", "-x", ""]) {
  Deno.test(`queueKinds() refuses '${word}'`, () => {
    assertThrows(() => queueKinds([word]), ConfigError);
  });
}

Deno.test("queuesToFill() refuses two queues for the same", () => {
  assertThrows(() => queuesToFill(["pacs", "imaging-primary"]), ConfigError, "for the same");
});
