import { assert, assertEquals, assertLess, assertNotMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { makePki } from "../../src/demo/pki.ts";
import { FtpsDestination, FtpsPool, Pace, type PartRecord, UploadError } from "../../src/upload/mod.ts";
import type { FtpsServer, FtpsServerOptions } from "../support/ftps.ts";
import { sharedPki } from "../support/pki.ts";
import { type ProgramName, testWith } from "../support/programs.ts";
import { FtpsProxy } from "../support/ftps_proxy.ts";
import { smallDisk } from "../support/disks.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { destinationConformance, type Peculiarities } from "./destination_conformance.ts";
import { assertFails, assertSameBytes, partIn, randomBytes, Workbench } from "./workbench.ts";

const MB = 1 << 20;

/** What differs between servers. */
export interface ServerPeculiarities extends Peculiarities {
  /** Whether its user is bound by the permissions of the file system. */
  readonly hasPermissions: boolean;
}

/** Holds both FTPS destinations to the contract, and to what is to be said of networks, on one kind of server in both modes. */
export function ftpsConformance(
  program: string,
  needs: readonly ProgramName[],
  start: (options: FtpsServerOptions) => Promise<FtpsServer>,
  { sent, found, hasPermissions }: ServerPeculiarities,
): void {
  for (const mode of ["implicit", "explicit"] as const) {
    const on = `on ${program}, ${mode} TLS`;
    const bench = async () => await Workbench.on(await start({ mode }));
    destinationConformance(`FtpsDestination ${on}`, needs, bench, { sent, found });
    if (mode === "explicit") {
      const pool = async () => await Workbench.on(await start({ mode }), { connections: 2 });
      destinationConformance(`FtpsPool ${on}`, needs, pool, { sent, found });
    }
    const test = (name: string, body: (workbench: Workbench) => Promise<void>) =>
      testWith(needs, `FtpsDestination ${on}: ${name}`, async () => {
        await using workbench = await bench();
        await body(workbench);
      });

    test("50 files go over one connection, also if all are asked for at once", async (workbench) => {
      await using proxy = new TcpProxy(workbench.server.port);
      await using destination = await workbench.open({ port: proxy.port });
      const contents = Array.from({ length: 50 }, (_, at) => randomBytes(1_000 + at));

      const receipts = await Promise.all(contents.map(async (content, at) => {
        return await destination.put(await workbench.file(content), `folder ${at % 3}/${at}.zip`);
      }));

      assertEquals(proxy.connections, 1);
      assertEquals(receipts.map((receipt) => receipt.bytes), contents.map((content) => content.length));
      for (const [at, content] of contents.entries()) {
        await assertSameBytes(await workbench.received(`folder ${at % 3}/${at}.zip`), content);
      }
    });

    test("put() finds its place again when somebody renames the folder that the connection is in", async (workbench) => {
      await using destination = await workbench.open();
      const [first, second] = [randomBytes(1_000), randomBytes(1_000)];
      await destination.put(await workbench.file(first), "project/1.zip");
      await Deno.rename(`${workbench.files}/project`, `${workbench.files}/done`);

      await destination.put(await workbench.file(second), "project/2.zip");
      await destination.put(await workbench.file(first), "project/1.zip");

      await assertSameBytes(await workbench.received("project/2.zip"), second);
      await assertSameBytes(await workbench.received("project/1.zip"), first);
      assertEquals((await Array.fromAsync(Deno.readDir(`${workbench.files}/done`))).map(({ name }) => name), ["1.zip"]);
    });

    test("open() says that the password is wrong, without showing it", async (workbench) => {
      const password = "PWSEED-wrong";

      const error = await assertFails("login-refused", () => workbench.open({ password }));

      assertEquals(error.kind, "refused");
      assertEquals(error.retryable, false);
      assertNotMatch(error.message, /PWSEED/);
      assertStringIncludes(error.message, `localhost:${workbench.server.port}`);
    });

    test("open() refuses the certificate of another authority", async () => {
      await using server = await start({ mode, pki: makePki({ hosts: ["localhost", "127.0.0.1"] }) });

      const error = await assertFails(
        "untrusted-certificate",
        () => FtpsDestination.open({ ...server, caPem: sharedPki().caPem }),
      );

      assertEquals(error.kind, "refused");
    });

    test("open() refuses a certificate for another name", async (workbench) => {
      await assertFails("untrusted-certificate", () => workbench.open({ servername: "other.example" }));
    });

    test("put() tries again after the connection was cut, and the file is whole", async (workbench) => {
      await using proxy = new TcpProxy(workbench.server.port);
      await using destination = await workbench.open({ port: proxy.port });
      const content = randomBytes(8 * MB);
      let cuts = 0;

      const receipt = await destination.put(await workbench.file(content), "a/study.zip", {
        onProgress: (bytes) => {
          if (bytes > MB && cuts < 2 && proxy.connections === cuts + 1) {
            cuts++;
            proxy.cut();
          }
        },
      });

      assertEquals(cuts, 2);
      assertEquals(receipt.bytes, content.length);
      await assertSameBytes(await workbench.received("a/study.zip"), content);
    });

    test("put() gives up after its attempts; nothing is there under the final name", async (workbench) => {
      await using proxy = new TcpProxy(workbench.server.port);
      await using destination = await workbench.open({ port: proxy.port, attempts: 2 });
      const path = await workbench.file(8 * MB);

      const error = await assertFails("interrupted", () => {
        return destination.put(path, "study.zip", { onProgress: (bytes) => bytes > MB && proxy.cut() });
      });

      assertEquals(error.retryable, true);
      assertEquals(proxy.connections, 2);
      assertEquals(await workbench.received("study.zip"), undefined);
    });

    test("put() connects anew if the server has closed an idle connection", async (workbench) => {
      await using proxy = new TcpProxy(workbench.server.port);
      await using destination = await workbench.open({ port: proxy.port, attempts: 2 });
      await destination.put(await workbench.file(1_000), "1.zip");
      proxy.cut();

      await destination.put(await workbench.file(1_000), "2.zip");

      assertEquals(proxy.connections, 2);
    });

    if (sent === "sha256") {
      test("put() does not deliver what arrived with another content", async (workbench) => {
        await using destination = await workbench.open({ attempts: 2 });
        const path = await workbench.file(3 * MB);
        const { uid, gid } = await Deno.stat(workbench.server.files);
        const exchange = () => {
          const part = partIn(workbench.server.files);
          Deno.removeSync(part);
          Deno.writeFileSync(part, new Uint8Array(3 * MB));
          Deno.chownSync(part, uid, gid);
        };

        await assertFails("verification-failed", () => destination.put(path, "study.zip", { onProgress: exchange }));

        assertEquals(await Array.fromAsync(Deno.readDir(workbench.server.files)), []);
      });
    }

    for (const expired of [false, true]) {
      test(`open() ${expired ? "refuses" : "takes"} a certificate that has ${expired ? "" : "not "}expired`, async () => {
        const from = new Date(Date.now() - (expired ? 48 : 23) * 3_600_000);
        const pki = makePki({ hosts: ["localhost"], days: 1, from });
        await using server = await start({ mode, pki });
        // In a worker, which has not trusted another authority yet.
        const open = async () => {
          await using _pool = await FtpsPool.open({ ...server, caPem: pki.caPem });
        };

        if (expired) await assertFails("untrusted-certificate", open);
        else await open();
      });
    }

    test("put() makes a folder anew that was removed while the connection is in it", async (workbench) => {
      await using destination = await workbench.open();
      const path = await workbench.file(1_000);
      await destination.put(path, "a/1.zip");
      await Deno.remove(`${workbench.files}/a`, { recursive: true });

      await destination.put(path, "a/2.zip");

      assertEquals((await workbench.received("a/2.zip"))?.length, 1_000);
    });

    test("8 connections make the same folders at once", async (workbench) => {
      const { basePath, ...login } = workbench.server;
      await using pool = await FtpsPool.open({
        ...login,
        basePath,
        connections: 8,
        timeoutMs: 10_000,
        retryDelayMs: 50,
      });
      const contents = Array.from({ length: 8 }, (_, at) => randomBytes(1_000 + at));

      await Promise.all(
        contents.map(async (content, at) => await pool.put(await workbench.file(content), `new/deep/deeper/${at}.zip`)),
      );

      for (const [at, content] of contents.entries()) {
        await assertSameBytes(await workbench.received(`new/deep/deeper/${at}.zip`), content);
      }
    });

    for (const which of ["control", "data"] as const) {
      for (const percent of [0, 1, 50, 99.9]) {
        test(`a ${which} connection that is cut at ${percent} % leaves nothing wrong, and the next process goes on`, async (workbench) => {
          await using proxy = new FtpsProxy(workbench.server);
          const cut = () => which === "control" ? proxy.control.cut() : proxy.cutData();
          const content = randomBytes(40 * MB);
          const source = await workbench.file(content);
          let part: PartRecord | undefined;
          {
            await using destination = await workbench.open({ ...proxy.login, attempts: 1 });
            if (percent === 0 && which === "control") cut();
            if (percent === 0 && which === "data") proxy.refuseData();
            const error = await assertRejects(() =>
              destination.put(source, "a/study.zip", {
                onPart: (record) => part = record,
                onProgress: (bytes) => bytes >= content.length * percent / 100 && cut(),
              }), UploadError);
            // A data connection that a server breaks off for want of TLS session reuse looks the same.
            assert(["interrupted", "session-reuse"].includes(error.code), error.code);
            assertEquals(error.retryable, true);
          }
          assertEquals(await workbench.received("a/study.zip"), undefined);

          await using next = await workbench.open();
          const { resumed } = await next.put(source, "a/study.zip", part === undefined ? {} : { part });

          await assertSameBytes(await workbench.received("a/study.zip"), content);
          assert(resumed === 0 || resumed === part?.bytes);
          if (percent <= 1) assertEquals(part, undefined);
          if (which === "data") assertEquals(proxy.dataConnections, percent === 0 ? 0 : 1);
        });
      }

      test(`put() gives up on a ${which} connection that stalls, and nothing is there under the final name`, async (workbench) => {
        await using proxy = new FtpsProxy(workbench.server);
        const freeze = () => which === "control" ? proxy.control.freeze() : proxy.freezeData();
        await using destination = await workbench.open({ ...proxy.login, attempts: 1, timeoutMs: 3_000 });
        const begun = performance.now();

        const path = await workbench.file(24 * MB);
        const error = await assertFails(
          "timeout",
          () => destination.put(path, "study.zip", { onProgress: (bytes) => bytes > MB && freeze() }),
        );

        assertEquals([error.retryable, error.kind], [true, "unavailable"]);
        assertLess(performance.now() - begun, 10_000);
        assertEquals(await workbench.received("study.zip"), undefined);
        assertEquals(proxy.dataConnections, 1);
      });
    }

    for (const bytes of [1_000, 300_000]) {
      test(`put() gives up on a data connection that stalls when all ${bytes} bytes were written`, async (workbench) => {
        await using proxy = new FtpsProxy(workbench.server);
        // Logging in has that time too, and took proftpd more than a second on a busy machine.
        await using destination = await workbench.open({ ...proxy.login, attempts: 1, timeoutMs: 3_000 });
        const begun = performance.now();

        const path = await workbench.file(bytes);
        await assertFails(
          "timeout",
          () => destination.put(path, "study.zip", { onProgress: (done) => done === bytes && proxy.freezeData() }),
        );

        assertLess(performance.now() - begun, 6_000);
        assertEquals(await workbench.received("study.zip"), undefined);
      });
    }

    if (hasPermissions) {
      test("put() gives up on a server that stalls while it receives", async (workbench) => {
        const { signalSessions } = workbench.server;
        assert(signalSessions);
        await using destination = await workbench.open({ attempts: 1, timeoutMs: 3_000 });
        let stopped: Promise<void> | undefined;

        await assertFails("timeout", () =>
          workbench.file(64 * MB).then((path) =>
            destination.put(path, "study.zip", {
              onProgress: (bytes) => {
                if (bytes > MB) stopped ??= signalSessions("SIGSTOP");
              },
            })
          ));

        await stopped;
        assertEquals(await workbench.received("study.zip"), undefined);
      });

      test("put() says that the server was killed, and the next process goes on when it is back", async (workbench) => {
        const { kill, revive } = workbench.server;
        assert(kill && revive);
        const content = randomBytes(40 * MB);
        const source = await workbench.file(content);
        let part: PartRecord | undefined;
        let killed: Promise<void> | undefined;
        {
          // Else it may be through before the server is dead.
          await using destination = await workbench.open({ attempts: 2, pace: new Pace(30e6) });
          const error = await assertRejects(() =>
            destination.put(source, "a/study.zip", {
              onPart: (record) => part = record,
              onProgress: (bytes) => {
                if (bytes > 20 * MB) killed ??= kill();
              },
            }), UploadError);
          assertEquals([error.code, error.retryable], ["unreachable", true]);
        }
        await killed;
        assertEquals(await workbench.received("a/study.zip"), undefined);

        await revive();
        await using next = await workbench.open();
        const { resumed } = await next.put(source, "a/study.zip", part && { part });

        assertEquals(resumed, 16 * MB);
        await assertSameBytes(await workbench.received("a/study.zip"), content);
      });

      for (const [bytes, space] of [[24 * MB, 4 * MB], [200_000, 65_536]] as const) {
        test(`put() of ${bytes} bytes says that the disk is full, and leaves nothing there`, async (workbench) => {
          const { uid, gid } = await Deno.stat(workbench.files);
          await Deno.mkdir(`${workbench.files}/full`);
          await using _disk = await smallDisk(`${workbench.files}/full`, space);
          await Deno.chown(`${workbench.files}/full`, uid, gid);
          await using destination = await workbench.open({ attempts: 2 });
          const path = await workbench.file(bytes);

          const error = await assertFails("no-space", () => destination.put(path, "full/study.zip"));

          assertEquals([error.retryable, error.kind], [false, "unavailable"]);
          assertEquals(await workbench.received("full/study.zip"), undefined);
          assertEquals((await destination.put(await workbench.file(1_000), "full/small.zip")).skipped, false);
        });
      }

      testWith(
        needs,
        `FtpsDestination ${on}: put() says that renaming is refused, and leaves nothing there`,
        async () => {
          await using workbench = await Workbench.on(await start({ mode, refuseRename: true }));
          await using destination = await workbench.open();
          const path = await workbench.file(1_000);

          const error = await assertFails("permission-denied", () => destination.put(path, "study.zip"));

          assertEquals(error.kind, "refused");
          assertEquals(await Array.fromAsync(Deno.readDir(workbench.files)), []);
        },
      );

      test("put() says that the server denies a folder", async (workbench) => {
        await Deno.mkdir(`${workbench.server.files}/locked`, { mode: 0o755 });
        await using destination = await workbench.open();
        const path = await workbench.file(MB);

        const error = await assertFails("permission-denied", () => destination.put(path, "locked/study.zip"));
        await assertFails("permission-denied", () => destination.put(path, "locked/deep/study.zip"));

        assertEquals(error.kind, "refused");
        assertEquals(await Array.fromAsync(Deno.readDir(`${workbench.server.files}/locked`)), []);
      });

      test("list() says that a folder is denied, itself or below", async (workbench) => {
        await using destination = await workbench.open({ attempts: 1 });
        await destination.put(await workbench.file(1), "project/a.zip");
        await Deno.mkdir(`${workbench.server.files}/project/locked`, { mode: 0o700 });

        await assertFails("permission-denied", () => destination.list("project"));
        await assertFails("permission-denied", () => destination.list("project/locked"));

        assertEquals(await destination.list("project/nothing"), []);
      });

      test("put() tries again after the server's process was killed", async (workbench) => {
        const { killSessions } = workbench.server;
        assert(killSessions);
        await using destination = await workbench.open();
        const content = randomBytes(24 * MB);
        let killed: Promise<void> | undefined;

        await destination.put(await workbench.file(content), "study.zip", {
          onProgress: (bytes) => {
            if (bytes > MB) killed ??= killSessions();
          },
        });

        await killed;
        await assertSameBytes(await workbench.received("study.zip"), content);
      });
    }
  }
}
