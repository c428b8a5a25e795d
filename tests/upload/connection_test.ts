import { assert, assertEquals, assertLess } from "@std/assert";
import { FtpsReceiver } from "../../src/demo/ftps_receiver/mod.ts";
import { FtpsDestination } from "../../src/upload/mod.ts";
import { sharedPki } from "../support/pki.ts";
import { testWith } from "../support/programs.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/until.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { startVsftpd } from "../support/vsftpd.ts";
import { assertSameBytes, randomBytes, Workbench } from "./workbench.ts";

const MB = 1 << 20;

for (const mode of ["implicit", "explicit"] as const) {
  Deno.test(`FtpsDestination uploads over IPv6, ${mode} TLS`, async () => {
    const dir = await Deno.makeTempDir({ prefix: "pixl-ipv6-" });
    await Deno.mkdir(`${dir}/root`);
    const content = randomBytes(3 * MB);
    await Deno.writeFile(`${dir}/source`, content);
    {
      const login = { user: "dsh", password: "PWSEED-6", host: "::1", mode };
      await using receiver = await FtpsReceiver.listen({ ...login, ...sharedPki(), root: `${dir}/root` });
      await using destination = await FtpsDestination.open({
        ...login,
        port: receiver.port,
        caPem: sharedPki().caPem,
        servername: "localhost",
        attempts: 1,
        timeoutMs: 5_000,
      });

      await destination.put(`${dir}/source`, "a/study.zip");

      await assertSameBytes(await Deno.readFile(`${dir}/root/a/study.zip`), content);
      assertEquals(destination.name, `[::1]:${receiver.port}`);
    }
    await Deno.remove(dir, { recursive: true });
  });

  Deno.test({
    name: `FtpsDestination keeps the control connection alive, ${mode} TLS`,
    ignore: Deno.build.os !== "linux",
    async fn() {
      await using server = await startReceiver({ mode });
      await using _destination = await FtpsDestination.open(server);

      const port = server.port.toString(16).toUpperCase().padStart(4, "0");
      let left = "";
      await until("the kernel's keep-alive timer runs", async () => {
        const rows = (await Deno.readTextFile("/proc/net/tcp")).split("\n").map((line) => line.trim().split(/\s+/));
        // Established; there may be another that is over, of a server that had the port before.
        const row = rows.find(([, , remote, state]) => remote?.endsWith(`:${port}`) && state === "01");
        const [timer, time = ""] = row?.[5]?.split(":") ?? [];
        left = time;
        return timer === "02"; // for a moment it may be that of what was sent last
      });
      assertLess(parseInt(left, 16), 3_001); // hundredths of a second
    },
  });
}

testWith(["vsftpd"], "put() reads its source once where the server has no hashes", async () => {
  await using workbench = await Workbench.on(await startVsftpd({ mode: "explicit" }));
  await using destination = await workbench.open();
  const path = await workbench.file(64 * MB);
  const before = await bytesRead();

  await destination.put(path, "study.zip");

  const read = await bytesRead() - before;
  assert(read >= 64 * MB && read < 80 * MB, `${read} bytes were read`);
});

for (const mode of ["implicit", "explicit"] as const) {
  testWith(["vsftpd"], `FtpsDestination says goodbye and ends TLS as it should, ${mode} TLS`, async () => {
    await using workbench = await Workbench.on(await startVsftpd({ mode }));
    await using proxy = new TcpProxy(workbench.server.port);
    {
      await using destination = await workbench.open({ host: "127.0.0.1", port: proxy.port });
      await destination.put(await workbench.file(1_000), "study.zip");
    }

    const alert = 21; // close_notify, since nothing is wrong (RFC 5246, 6.2.1 and 7.2.1)
    await until("TLS is ended", () => proxy.lastSent[0] === alert);
    await until("the server's log has the goodbye", async () => {
      return /"QUIT"[^]*"221 Goodbye\."/.test(await Deno.readTextFile(workbench.server.log));
    });
  });
}

/** By this process, of files and not of sockets. */
async function bytesRead(): Promise<number> {
  return Number(/^rchar: (\d+)/m.exec(await Deno.readTextFile("/proc/self/io"))?.[1]);
}
