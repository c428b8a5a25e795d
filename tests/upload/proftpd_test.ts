import { assertEquals } from "@std/assert";
import { startProftpd } from "../support/proftpd.ts";
import { testWith } from "../support/programs.ts";
import { ftpsConformance } from "./ftps_conformance.ts";
import { assertFails, assertSameBytes, partIn, randomBytes, sha256, Workbench } from "./workbench.ts";

ftpsConformance("proftpd", ["proftpd"], startProftpd, { sent: "sha256", found: "sha256", hasPermissions: true });

const MB = 1 << 20;

for (const mode of ["implicit", "explicit"] as const) {
  testWith(["proftpd"], `a server that speaks TLS 1.3 alone is told to speak 1.2, ${mode} TLS`, async () => {
    await using workbench = await Workbench.on(await startProftpd({ mode, tls: "TLSv1.3" }));

    const error = await assertFails("protocol", () => workbench.open());

    assertEquals([error.retryable, error.message.includes("TLS 1.2")], [false, true]);
  });
}

for (const digest of ["md5", "crc32"] as const) {
  testWith(["proftpd"], `put() is verified by ${digest} where a server has nothing better`, async () => {
    await using workbench = await Workbench.on(await startProftpd({ mode: "explicit", digest }));
    await using destination = await workbench.open();
    const content = randomBytes(3 * MB);

    const receipt = await destination.put(await workbench.file(content), "study.zip");

    assertEquals([receipt.verifiedBy, receipt.sha256], [digest, await sha256(content)]);
    await assertSameBytes(await workbench.received("study.zip"), content);
  });

  testWith(["proftpd"], `put() does not deliver what arrived with another ${digest}`, async () => {
    await using workbench = await Workbench.on(await startProftpd({ mode: "explicit", digest }));
    await using destination = await workbench.open({ attempts: 1 });
    const { uid, gid } = await Deno.stat(workbench.files);
    const exchange = () => {
      const part = partIn(workbench.files);
      Deno.removeSync(part);
      Deno.writeFileSync(part, new Uint8Array(3 * MB));
      Deno.chownSync(part, uid, gid);
    };
    const path = await workbench.file(3 * MB);

    await assertFails("verification-failed", () => destination.put(path, "study.zip", { onProgress: exchange }));

    assertEquals(await Array.fromAsync(Deno.readDir(workbench.files)), []);
  });
}
