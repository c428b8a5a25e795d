import {
  assert,
  assertEquals,
  assertGreater,
  assertNotMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { makePki } from "../../src/demo/pki.ts";
import { FtpsDestination, type Verification } from "../../src/upload/mod.ts";
import type { FtpsServer, FtpsServerOptions } from "../support/ftps.ts";
import { sharedPki } from "../support/pki.ts";
import { assertFails, assertSameBytes, randomBytes, sha256, Workbench } from "./workbench.ts";
import { type ProgramName, testWith } from "../support/programs.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";

const MB = 1 << 20;

/** What differs between servers. */
export interface Peculiarities {
  /** How the server lets a new file be compared. */
  readonly sent: Verification;
  /** How it lets one be compared that was there before. */
  readonly found: Verification;
  /** Whether its user is bound by the permissions of the file system. */
  readonly hasPermissions: boolean;
}

/** Holds the uploader to the contract of `Destination`, on one kind of server in both modes. @param needs Programs without which it is skipped. */
export function destinationConformance(
  program: string,
  needs: readonly ProgramName[],
  start: (options: FtpsServerOptions) => Promise<FtpsServer>,
  { sent, found, hasPermissions }: Peculiarities,
): void {
  for (const mode of ["implicit", "explicit"] as const) {
    const test = (name: string, body: (workbench: Workbench) => Promise<void>) =>
      testWith(needs, `FtpsDestination on ${program}, ${mode} TLS: ${name}`, async () => {
        await using workbench = await Workbench.on(await start({ mode }));
        await body(workbench);
      });

    for (const bytes of [0, 1, 5 * MB]) {
      test(`put() brings ${bytes} bytes`, async (workbench) => {
        await using destination = await workbench.open();
        const content = randomBytes(bytes);

        const receipt = await destination.put(await workbench.file(content), "study.zip");

        await assertSameBytes(await workbench.received("study.zip"), content);
        const path = `${workbench.server.basePath === "/" ? "" : workbench.server.basePath}/study.zip`;
        assertEquals(receipt, { path, bytes, sha256: await sha256(content), verifiedBy: sent, skipped: false });
        assertEquals(await workbench.received(".study.zip.part"), undefined);
      });
    }

    test("put() makes folders and takes names with blanks, quotes and other scripts", async (workbench) => {
      await using destination = await workbench.open();
      const content = randomBytes(1_000);

      const receipt = await destination.put(await workbench.file(content), 'my project/2020 06/Ünï "x" 研究.zip');

      await assertSameBytes(await workbench.received('my project/2020 06/Ünï "x" 研究.zip'), content);
      assertEquals(receipt.verifiedBy, sent);
      await destination.put(await workbench.file(content), "my project/other/b.zip");
      await assertSameBytes(await workbench.received("my project/other/b.zip"), content);
    });

    test("put() sends nothing if the file is there", async (workbench) => {
      const path = await workbench.file(3 * MB);
      await using destination = await workbench.open();
      const first = await destination.put(path, "a/study.zip");
      await using other = await workbench.open();

      const receipt = await other.put(path, "a/study.zip", { onProgress: () => assert(false, "nothing may be sent") });

      assertEquals(receipt, { ...first, verifiedBy: found, skipped: true });
    });

    test("put() believes the caller's record only where the server has no hash", async (workbench) => {
      const content = randomBytes(1_000);
      await workbench.plant("study.zip", content);
      await using destination = await workbench.open();

      const receipt = await destination.put(await workbench.file(content), "study.zip", {
        knownSha256: await sha256(content),
      });

      assertEquals(receipt.verifiedBy, found === "retrieved" ? "record" : found);
      assert(receipt.skipped);
    });

    for (const [what, other] of [["size", 999], ["content", 1_000]] as const) {
      test(`put() leaves a file of other ${what} alone`, async (workbench) => {
        const there = randomBytes(other);
        await workbench.plant("study.zip", there);
        await using destination = await workbench.open();
        const path = await workbench.file(1_000);

        await assertFails("exists-different", () => destination.put(path, "study.zip"));
        await assertFails(
          "exists-different",
          () => destination.put(path, "study.zip", { knownSha256: "0".repeat(64) }),
        );

        await assertSameBytes(await workbench.received("study.zip"), there);
        assertEquals(await workbench.received(".study.zip.part"), undefined);
      });
    }

    test("put() replaces a different file if asked to", async (workbench) => {
      await workbench.plant("study.zip", randomBytes(1_000));
      await using destination = await workbench.open();
      const content = randomBytes(1_000);

      const receipt = await destination.put(await workbench.file(content), "study.zip", { replace: true });

      assertEquals(receipt.skipped, false);
      await assertSameBytes(await workbench.received("study.zip"), content);
    });

    test("put() does not trust the part file of an earlier crash", async (workbench) => {
      const left = randomBytes(2_000);
      await workbench.plant(".study.zip.part", left);
      // Stands for a server process that still has it open: it must not write into the new file, nor the other way round.
      await Deno.link(`${workbench.server.files}/.study.zip.part`, `${workbench.server.files}/still-open`);
      await using destination = await workbench.open();
      const content = randomBytes(1_000);

      await destination.put(await workbench.file(content), "study.zip");

      await assertSameBytes(await workbench.received("still-open"), left);

      await assertSameBytes(await workbench.received("study.zip"), content);
      assertEquals(await workbench.received(".study.zip.part"), undefined);
    });

    test("put() tells its progress", async (workbench) => {
      await using destination = await workbench.open();
      const seen: number[] = [];

      await destination.put(await workbench.file(3 * MB), "study.zip", { onProgress: (bytes) => seen.push(bytes) });

      assertGreater(seen.length, 5);
      assertEquals(seen, seen.toSorted((a, b) => a - b));
      assertEquals(seen.at(-1), 3 * MB);
    });

    test("put() ends with the error of the caller's onProgress", async (workbench) => {
      await using destination = await workbench.open();
      const bug = new TypeError("a bug of the caller");
      const path = await workbench.file(MB);

      const error = await assertRejects(async () => {
        await destination.put(path, "study.zip", {
          onProgress: () => {
            throw bug;
          },
        });
      });

      assertStrictEquals(error, bug);
      assertEquals(await workbench.received("study.zip"), undefined);
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

    test("put() stops when aborted; the next one works", async (workbench) => {
      await using destination = await workbench.open();
      const path = await workbench.file(8 * MB);
      const reason = new Error("enough");
      const abort = new AbortController();

      const error = await assertRejects(async () => {
        await destination.put(path, "study.zip", {
          signal: abort.signal,
          onProgress: (bytes) => bytes > MB && abort.abort(reason),
        });
      });

      assertStrictEquals(error, reason);
      assertEquals(await workbench.received("study.zip"), undefined);
      assertEquals((await destination.put(path, "study.zip")).skipped, false);
    });

    test("put() can be aborted while it waits its turn", async (workbench) => {
      await using destination = await workbench.open();
      const path = await workbench.file(3 * MB);
      const first = destination.put(path, "1.zip");
      const abort = new AbortController();
      const second = destination.put(path, "2.zip", { signal: abort.signal });
      const third = destination.put(path, "3.zip");
      abort.abort(new Error("enough"));

      await assertRejects(() => second, Error, "enough");

      await Promise.all([first, third]);
      assertEquals(await workbench.received("2.zip"), undefined);
    });

    test("closing the destination ends what is on its way", async (workbench) => {
      const destination = await workbench.open();
      const path = await workbench.file(8 * MB);
      const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
      const put = assertFails("interrupted", () => destination.put(path, "study.zip", { onProgress: () => begin() }));
      await begun;

      await destination[Symbol.asyncDispose]();
      await destination[Symbol.asyncDispose]();

      assertEquals((await put).retryable, false);
      await assertFails("interrupted", () => destination.put(path, "study.zip"));
      assertEquals(await workbench.received("study.zip"), undefined);
    });

    test("put() says that the source is missing, or a folder", async (workbench) => {
      await using destination = await workbench.open();

      await assertFails("source-missing", () => destination.put(`${workbench.server.files}/nothing`, "study.zip"));
      await assertFails("source-missing", () => destination.put(workbench.server.files, "study.zip"));
    });

    for (
      const [what, change] of [
        ["grows", (path: string) => Deno.writeFileSync(path, new Uint8Array(10), { append: true })],
        ["shrinks", (path: string) => Deno.truncateSync(path, 2 * MB)],
        ["changes", (path: string) => Deno.writeFileSync(path, new Uint8Array(8 * MB))],
        ["is exchanged", (path: string) => {
          Deno.writeFileSync(`${path}.new`, new Uint8Array(8 * MB));
          Deno.renameSync(`${path}.new`, path);
        }],
      ] as const
    ) {
      test(`put() does not deliver a source that ${what} meanwhile`, async (workbench) => {
        await using destination = await workbench.open();
        const path = await workbench.file(8 * MB);
        let changed = false;

        await assertFails("source-changed", () =>
          destination.put(path, "study.zip", {
            onProgress: () => {
              if (!changed) change(path);
              changed = true;
            },
          }));

        assertEquals(await workbench.received("study.zip"), undefined);
      });
    }

    test("put() does not deliver what arrived with another size", async (workbench) => {
      await using destination = await workbench.open({ attempts: 2 });
      const path = await workbench.file(3 * MB);
      const grow = () => Deno.truncateSync(`${workbench.server.files}/.study.zip.part`, 3 * MB + 1);

      const error = await assertFails(
        "verification-failed",
        () => destination.put(path, "study.zip", { onProgress: grow }),
      );

      assertEquals(error.retryable, true);
      assertEquals(await Array.fromAsync(Deno.readDir(workbench.server.files)), []);
    });

    if (sent === "sha256") {
      test("put() does not deliver what arrived with another content", async (workbench) => {
        await using destination = await workbench.open({ attempts: 2 });
        const path = await workbench.file(3 * MB);
        const { uid, gid } = await Deno.stat(workbench.server.files);
        const part = `${workbench.server.files}/.study.zip.part`;
        const exchange = () => {
          Deno.removeSync(part);
          Deno.writeFileSync(part, new Uint8Array(3 * MB));
          Deno.chownSync(part, uid, gid);
        };

        await assertFails("verification-failed", () => destination.put(path, "study.zip", { onProgress: exchange }));

        assertEquals(await Array.fromAsync(Deno.readDir(workbench.server.files)), []);
      });
    }

    test("put() refuses bad names before anything is sent", async (workbench) => {
      await using destination = await workbench.open();
      const path = await workbench.file(1);
      for (const name of ["", "/etc/x", "../x", "a/../x", "a//x", "a/", "a\\x", "a\r\nDELE x", "x\u0000"]) {
        await assertFails("invalid-name", () => destination.put(path, name));
      }
      assertEquals(await Array.fromAsync(Deno.readDir(workbench.server.files)), []);
    });

    test("put() says that a folder or a file is in the way", async (workbench) => {
      await using destination = await workbench.open();
      const path = await workbench.file(1_000);
      await destination.put(path, "a/b.zip");

      await assertFails("permission-denied", () => destination.put(path, "a"));
      await assertFails("permission-denied", () => destination.put(path, "a/b.zip/c.zip"));

      assertEquals(await workbench.received(".a.part"), undefined);
      assertEquals((await destination.put(path, "d.zip")).skipped, false);
    });

    if (hasPermissions) {
      test("put() says that the server denies a folder", async (workbench) => {
        await Deno.mkdir(`${workbench.server.files}/locked`, { mode: 0o755 });
        await using destination = await workbench.open();
        const path = await workbench.file(MB);

        const error = await assertFails("permission-denied", () => destination.put(path, "locked/study.zip"));
        await assertFails("permission-denied", () => destination.put(path, "locked/deep/study.zip"));

        assertEquals(error.kind, "refused");
        assertEquals(await Array.fromAsync(Deno.readDir(`${workbench.server.files}/locked`)), []);
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
