import { assert, assertEquals, assertThrows } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { makePki } from "../../src/demo/pki.ts";
import { testWith } from "../support/programs.ts";

Deno.test("makePki() makes a server certificate that its authority has signed", () => {
  const pki = makePki({ hosts: ["localhost", "dsh.example", "127.0.0.1", "::1", "2001:db8::1:2"], days: 7 });
  const [ca, server] = [new X509Certificate(pki.caPem), new X509Certificate(pki.certPem)];

  assert(ca.ca && !server.ca);
  assert(server.checkIssued(ca) && server.verify(ca.publicKey) && ca.verify(ca.publicKey));
  assertEquals(server.checkHost("dsh.example"), "dsh.example");
  assertEquals(server.checkHost("other.example"), undefined);
  for (const address of ["127.0.0.1", "::1", "2001:db8::1:2"]) assertEquals(server.checkIP(address), address);
  const days = (new Date(server.validTo).getTime() - Date.now()) / 86_400_000;
  assert(days > 6.9 && days < 7);
});

testWith("openssl", "makePki() satisfies OpenSSL's strict rules, also after 2050", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pixl-pki-" });
  try {
    for (const days of [1, 20_000]) {
      const pki = makePki({ hosts: ["localhost"], days });
      await Deno.writeTextFile(`${dir}/ca.pem`, pki.caPem);
      await Deno.writeTextFile(`${dir}/server.pem`, pki.certPem);
      const args = [
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-verify_hostname",
        "localhost",
        "-CAfile",
        "ca.pem",
      ];
      const { success, stderr } = await new Deno.Command("openssl", { args: [...args, "server.pem"], cwd: dir })
        .output();
      assert(success, new TextDecoder().decode(stderr));
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("makePki() refuses a validity that is not a whole number of days", () => {
  for (const days of [0, -1, 1.5, NaN]) {
    assertThrows(() => makePki({ hosts: ["localhost"], days }), RangeError, "'days'");
  }
});
