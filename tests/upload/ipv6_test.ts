import { FtpsReceiver } from "../../src/demo/ftps_receiver/mod.ts";
import { FtpsDestination } from "../../src/upload/mod.ts";
import { sharedPki } from "../support/pki.ts";
import { assertSameBytes, randomBytes } from "./workbench.ts";

for (const mode of ["implicit", "explicit"] as const) {
  Deno.test(`FtpsDestination.put() works over IPv6, ${mode} TLS`, async () => {
    const dir = await Deno.makeTempDir({ prefix: "pixl-ipv6-" });
    try {
      const { caPem, certPem, keyPem } = sharedPki();
      const login = { user: "dsh", password: "PWSEED-6", mode };
      await Deno.mkdir(`${dir}/dsh`);
      await using receiver = await FtpsReceiver.listen({ root: `${dir}/dsh`, host: "::1", certPem, keyPem, ...login });
      await using destination = await FtpsDestination.open({
        ...login,
        host: "::1",
        port: receiver.port,
        servername: "localhost",
        caPem,
        timeoutMs: 5_000,
      });
      const content = randomBytes(1 << 20);
      await Deno.writeFile(`${dir}/source`, content);

      for (const name of ["a.zip", "b.zip"]) await destination.put(`${dir}/source`, name);

      for (const name of ["a.zip", "b.zip"]) await assertSameBytes(await Deno.readFile(`${dir}/dsh/${name}`), content);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}
