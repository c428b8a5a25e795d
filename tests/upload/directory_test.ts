import { assertEquals, assertRejects } from "@std/assert";
import { DirectoryDestination, type PartRecord } from "../../src/upload/mod.ts";
import { makeReadOnly, smallDisk } from "../support/disks.ts";
import { destinationConformance } from "./destination_conformance.ts";
import { assertFails, assertSameBytes, FolderBench, partsIn, randomBytes } from "./workbench.ts";

destinationConformance("DirectoryDestination", [], () => FolderBench.make(), { sent: "retrieved", found: "retrieved" });

Deno.test("DirectoryDestination.open() refuses a share that was used and is empty, as if it is not mounted", async () => {
  await using bench = await FolderBench.make();

  await assertFails("unreachable", () => DirectoryDestination.open(bench.files, { wasUsed: true }));

  {
    await using share = await DirectoryDestination.open(bench.files);
    await share.put(await bench.file(1), "a.zip");
  }
  await using _share = await DirectoryDestination.open(bench.files, { wasUsed: true });
});

Deno.test("DirectoryDestination.put() refuses a folder that has come in place of the share", async () => {
  await using bench = await FolderBench.make();
  const source = await bench.file(1);
  await using share = await DirectoryDestination.open(bench.files);
  await Deno.rename(bench.files, `${bench.dir}/unmounted`);
  await Deno.mkdir(bench.files);

  await assertFails("unreachable", () => share.put(source, "a.zip"));

  assertEquals(await Array.fromAsync(Deno.readDir(bench.files)), []);
  await Deno.remove(bench.files);
  await Deno.rename(`${bench.dir}/unmounted`, bench.files);
  assertEquals((await share.put(source, "a.zip")).skipped, false);
});

for (const [code, stays] of [["EIO", true], ["ENOSPC", false]] as const) {
  Deno.test(`DirectoryDestination.put() ${stays ? "keeps" : "removes"} what has arrived where ${code} ends it`, async () => {
    await using bench = await FolderBench.make();
    await using share = await DirectoryDestination.open(bench.files);
    const content = randomBytes(24 << 20);
    const source = await bench.file(content);
    let part: PartRecord | undefined;

    await assertRejects(() =>
      share.put(source, "a.zip", {
        onPart: (record) => {
          part = record;
          throw Object.assign(new Error("as the system says it"), { code });
        },
      })
    );

    assertEquals(partsIn(bench.files).length, stays ? 1 : 0);
    const receipt = await share.put(source, "a.zip", part && { part });
    assertEquals(receipt.resumed, stays ? part?.bytes : 0);
    await assertSameBytes(await bench.received("a.zip"), content);
  });
}

Deno.test("DirectoryDestination.put() says that a disk is full, and leaves nothing there", async () => {
  await using bench = await FolderBench.make();
  await using _disk = await smallDisk(bench.files, 4 << 20);
  await using share = await DirectoryDestination.open(bench.files);
  const source = await bench.file(8 << 20);

  const error = await assertFails("no-space", () => share.put(source, "a/study.zip"));

  assertEquals([error.kind, error.retryable, partsIn(`${bench.files}/a`)], ["unavailable", false, []]);
  assertEquals((await share.put(await bench.file(1_000), "a/small.zip")).skipped, false);
});

Deno.test("DirectoryDestination.put() says that nothing may be written", async () => {
  await using bench = await FolderBench.make();
  await using _disk = await smallDisk(bench.files, 4 << 20);
  await using share = await DirectoryDestination.open(bench.files);
  await makeReadOnly(bench.files);
  const source = await bench.file(1_000);

  const error = await assertFails("permission-denied", () => share.put(source, "study.zip"));

  assertEquals([error.kind, error.retryable], ["refused", false]);
});
