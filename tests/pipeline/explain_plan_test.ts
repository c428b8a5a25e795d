import { assertEquals } from "@std/assert";
import { explainPlan } from "../../src/pipeline/explain_plan.ts";
import type { FileToSend } from "../../src/pipeline/file_to_send.ts";
import { DirectoryDestination } from "../../src/upload/mod.ts";
import { listFiles } from "../../src/demo/files.ts";

for (
  const [there, replace, send, why] of [
    [undefined, false, true, "not there"],
    [7, false, false, "there with this size: it would be compared, and refused if it differs"],
    [7, true, false, "there with this size: it would be compared, and sent only if it differs"],
    [8, false, false, "another file is there (8 bytes): it would be refused"],
    [8, true, true, "another file is there (8 bytes): it would be replaced"],
  ] as const
) {
  Deno.test(`explainPlan() says of 7 bytes${replace ? " that may replace" : ""}: ${why}`, async () => {
    const dir = await Deno.makeTempDir({ prefix: "pixl-explain-" });
    try {
      await using share = await DirectoryDestination.open(dir);
      if (there !== undefined) await Deno.writeFile(`${dir}/manifest.json`, new Uint8Array(there));
      const file: FileToSend = {
        projectSlug: "x",
        source: "/somewhere/manifest.json",
        bytes: 7,
        path: "manifest.json",
        replace,
        isReady: () => false, // nothing was sent, but what would be is asked for
        record: () => Promise.reject(new Error("nothing is sent")),
      };

      const [explained] = await explainPlan(share, [file]);

      assertEquals([explained?.send, explained?.why], [send, why]);
      assertEquals(await listFiles(dir), there === undefined ? [] : ["manifest.json"]);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}
