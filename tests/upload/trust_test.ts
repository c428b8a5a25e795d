import { assertEquals, assertMatch } from "@std/assert";
import { makePki } from "../../src/demo/pki.ts";
import { FtpsDestination } from "../../src/upload/mod.ts";
import { sharedPki } from "../support/pki.ts";
import { assertFails } from "./workbench.ts";
import { startReceiver } from "../support/receiver.ts";

// A test file has an isolate of its own, so these are the only certificates that it has ever trusted.
Deno.test("FtpsDestination.open() trusts one authority in an isolate, and says so", async () => {
  await using server = await startReceiver({ mode: "implicit" });
  await assertFails("authority-conflict", () => FtpsDestination.open({ ...server, caPem: "no certificate" }));

  await using first = await FtpsDestination.open(server);
  await using again = await FtpsDestination.open({
    ...server,
    caPem: `# the same, written otherwise\n${server.caPem}\n`,
  });

  const other = makePki({ hosts: ["localhost"] }).caPem;
  const error = await assertFails("authority-conflict", () => FtpsDestination.open({ ...server, caPem: other }));
  assertEquals(error.kind, "configuration");
  assertMatch(error.message, /one file with all authorities/);
  const { caPem: _, ...withoutAuthority } = server;
  await assertFails("authority-conflict", () => FtpsDestination.open(withoutAuthority));
  // Neither has disturbed the open connections.
  for (const destination of [first, again]) {
    await destination.put(new URL(import.meta.url).pathname, `${destination === first}.ts`);
  }
  assertEquals(sharedPki().caPem, server.caPem);
});
