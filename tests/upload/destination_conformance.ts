import { assert, assertEquals, assertGreater, assertRejects, assertStrictEquals } from "@std/assert";
import { type Destination, partNameOf, type PartRecord, type Verification } from "../../src/upload/mod.ts";
import { type ProgramName, testWith } from "../support/programs.ts";
import { assertFails, assertSameBytes, partIn, partsIn, randomBytes, sha256 } from "./workbench.ts";

const MB = 1 << 20;

/** A destination to be tested, a folder for local files, and short ways to use both. */
export interface Bench extends AsyncDisposable {
  /** Local folder whose content the destination has at its base. */
  readonly files: string;
  /** Stands before the paths of receipts. */
  readonly basePath: string;
  open(): Promise<Destination>;
  /** Writes a local file of random content, or of the given one. */
  file(content: number | Uint8Array): Promise<string>;
  /** What is at the destination under that path, `undefined` if nothing. */
  received(path: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Puts a file there, as the destination's own user. */
  plant(path: string, content: Uint8Array): Promise<void>;
}

/** What differs between destinations. */
export interface Peculiarities {
  /** How a new file is compared. */
  readonly sent: Verification;
  /** How one is compared that was there before. */
  readonly found: Verification;
}

/** Holds a destination to the contract. @param needs Programs without which it is skipped. */
export function destinationConformance(
  name: string,
  needs: readonly ProgramName[],
  openBench: () => Promise<Bench>,
  { sent, found }: Peculiarities,
): void {
  const test = (what: string, body: (workbench: Bench) => Promise<void>) =>
    testWith(needs, `${name}: ${what}`, async () => {
      await using workbench = await openBench();
      await body(workbench);
    });

  for (const bytes of [0, 1, 5 * MB]) {
    test(`put() brings ${bytes} bytes`, async (workbench) => {
      await using destination = await workbench.open();
      const content = randomBytes(bytes);

      const receipt = await destination.put(await workbench.file(content), "study.zip");

      await assertSameBytes(await workbench.received("study.zip"), content);
      const path = `${workbench.basePath === "/" ? "" : workbench.basePath}/study.zip`;
      assertEquals(receipt, {
        path,
        bytes,
        sha256: await sha256(content),
        verifiedBy: sent,
        skipped: false,
        resumed: 0,
      });
      assertEquals(partsIn(workbench.files), []);
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

    // A folder is always read.
    assertEquals(receipt.verifiedBy, sent === "size" ? "record" : found);
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
      assertEquals(partsIn(workbench.files), []);
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

  test("put() leaves the unfinished files of others alone", async (workbench) => {
    const left = randomBytes(2_000);
    await workbench.plant(".study.zip.0badcafe.part", left);
    await using destination = await workbench.open();
    const content = randomBytes(1_000);

    await destination.put(await workbench.file(content), "study.zip");

    await assertSameBytes(await workbench.received(".study.zip.0badcafe.part"), left);
    await assertSameBytes(await workbench.received("study.zip"), content);
    assertEquals(partsIn(workbench.files).length, 1);
  });

  test("put() begins a new file in place of one that it cannot go on with", async (workbench) => {
    const source = await workbench.file(24 * MB);
    const part = await interrupt(workbench, source);
    // Stands for a server process that still has it open: it must not write into the new file, nor the other way round.
    await Deno.link(partIn(`${workbench.files}/a`), `${workbench.files}/still-open`);
    const before = await Deno.readFile(source);
    await Deno.writeFile(source, randomBytes(24 * MB));
    await using destination = await workbench.open();

    await destination.put(source, "a/study.zip", { part });

    // It may have grown since: what was under way is of the old file too.
    const left = await workbench.received("still-open");
    assert(left !== undefined && left.length >= part.bytes);
    await assertSameBytes(left, before.subarray(0, left.length));
    await assertSameBytes(await workbench.received("a/study.zip"), await Deno.readFile(source));
    assertEquals(partsIn(`${workbench.files}/a`), []);
  });

  for (const isSame of [true, false]) {
    test(`put() ${isSame ? "recognises" : "leaves alone"} ${isSame ? "the same" : "another"} file that comes meanwhile`, async (workbench) => {
      const [content, other] = [randomBytes(8 * MB), randomBytes(8 * MB)];
      const source = await workbench.file(content);
      const { uid, gid } = await Deno.stat(workbench.files);
      let isPlanted = false;
      const plant = () => {
        if (isPlanted) return;
        isPlanted = true;
        Deno.writeFileSync(`${workbench.files}/study.zip`, isSame ? content : other);
        Deno.chownSync(`${workbench.files}/study.zip`, uid, gid);
      };
      await using destination = await workbench.open();
      const put = () => destination.put(source, "study.zip", { onProgress: plant });

      if (isSame) assertEquals((await put()).skipped, true);
      else await assertFails("exists-different", put);

      await assertSameBytes(await workbench.received("study.zip"), isSame ? content : other);
      assertEquals(partsIn(workbench.files), []);
    });
  }

  test("put() of two programs to one path: the file is whole whenever it is there, and of one of them", async (workbench) => {
    await using one = await workbench.open();
    await using two = await workbench.open();
    const contents = [randomBytes(2 * MB), randomBytes(2 * MB)] as const;
    const [first, second] = [await workbench.file(contents[0]), await workbench.file(contents[1])];
    for (let round = 0; round < 8; round++) {
      const sizes = new Set<number>();
      const look = () => {
        const [file] = [...Deno.readDirSync(workbench.files)].filter(({ name }) => name === `${round}.zip`);
        if (file !== undefined) sizes.add(Deno.statSync(`${workbench.files}/${round}.zip`).size);
      };
      const watching = setInterval(look, 1);

      const ends = await Promise.allSettled([
        one.put(first, `${round}.zip`, { onProgress: look }),
        two.put(second, `${round}.zip`, { onProgress: look }),
      ]);

      clearInterval(watching);
      look();
      assertEquals([...sizes], [2 * MB]);
      const there = await sha256(await Deno.readFile(`${workbench.files}/${round}.zip`));
      const receipts = ends.filter((end) => end.status === "fulfilled").map(({ value }) => value);
      assert(receipts.some((receipt) => receipt.sha256 === there));
      // In a folder nobody can come between looking and renaming.
      if (sent === "retrieved") assertEquals(receipts.length, 1);
      for (const end of ends) {
        if (end.status === "rejected") await assertFails("exists-different", () => Promise.reject(end.reason));
      }
      assertEquals(partsIn(workbench.files), []);
    }
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

    await assertFails("source-missing", () => destination.put(`${workbench.files}/nothing`, "study.zip"));
    await assertFails("source-missing", () => destination.put(workbench.files, "study.zip"));
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

  test("put() does not deliver a source of another hash than was expected, nor replaces a file by it", async (workbench) => {
    const [content, there] = [randomBytes(1_000), randomBytes(1_000)];
    const [path, expectedSha256] = [await workbench.file(content), await sha256(there)];
    await workbench.plant("there.zip", there);
    await using destination = await workbench.open();

    await assertFails("source-changed", () => destination.put(path, "study.zip", { expectedSha256 }));
    await assertFails("source-changed", () => destination.put(path, "there.zip", { expectedSha256, replace: true }));
    const receipt = await destination.put(path, "right.zip", { expectedSha256: await sha256(content) });

    assertEquals(receipt.bytes, 1_000);
    assertEquals(await workbench.received("study.zip"), undefined);
    await assertSameBytes(await workbench.received("there.zip"), there);
    assertEquals(partsIn(workbench.files), []);
  });

  test("put() does not deliver what arrived with another size", async (workbench) => {
    await using destination = await workbench.open();
    const path = await workbench.file(3 * MB);
    const grow = () => Deno.truncateSync(partIn(workbench.files), 3 * MB + 1);

    const error = await assertFails(
      "verification-failed",
      () => destination.put(path, "study.zip", { onProgress: grow }),
    );

    assertEquals(error.retryable, true);
    assertEquals(await Array.fromAsync(Deno.readDir(workbench.files)), []);
  });

  test("put() refuses bad names before anything is sent", async (workbench) => {
    await using destination = await workbench.open();
    const path = await workbench.file(1);
    for (const name of ["", "/etc/x", "../x", "a/../x", "a//x", "a/", "a\\x", "a\r\nDELE x", "x\u0000"]) {
      await assertFails("invalid-name", () => destination.put(path, name));
    }
    assertEquals(await Array.fromAsync(Deno.readDir(workbench.files)), []);
  });

  test("put() says that a folder or a file is in the way", async (workbench) => {
    await using destination = await workbench.open();
    const path = await workbench.file(1_000);
    await destination.put(path, "a/b.zip");

    await assertFails("permission-denied", () => destination.put(path, "a"));
    await assertFails("permission-denied", () => destination.put(path, "a/b.zip/c.zip"));

    assertEquals(partsIn(workbench.files), []);
    assertEquals((await destination.put(path, "d.zip")).skipped, false);
  });

  test("put() sends only what is missing after an interruption", async (workbench) => {
    const content = randomBytes(24 * MB);
    const source = await workbench.file(content);
    const part = await interrupt(workbench, source);
    await using destination = await workbench.open();
    const seen: number[] = [];

    const receipt = await destination.put(source, "a/study.zip", { part, onProgress: (bytes) => seen.push(bytes) });

    const verifiedBy = sent === "size" ? "retrieved" : sent;
    assertEquals([receipt.resumed, receipt.bytes, receipt.verifiedBy], [part.bytes, content.length, verifiedBy]);
    assertGreater(part.bytes, 16 * MB - 1);
    assertGreater(Math.min(...seen), part.bytes);
    assertEquals(receipt.sha256, await sha256(content));
    await assertSameBytes(await workbench.received("a/study.zip"), content);
    assertEquals(partsIn(`${workbench.files}/a`), []);
  });

  for (
    const [what, spoil] of [
      ["the source has changed", async (_: Bench, source: string) => {
        await Deno.writeFile(source, randomBytes(24 * MB));
      }],
      ["the source has changed but not its time", async (_: Bench, source: string) => {
        const { mtime } = await Deno.stat(source);
        await Deno.writeFile(source, randomBytes(24 * MB));
        await Deno.utime(source, mtime ?? 0, mtime ?? 0);
      }],
      ["the source has another time", async (_: Bench, source: string) => {
        await Deno.utime(source, 1_000, 1_000);
      }],
      ["less has arrived than was handed over", async (workbench: Bench) => {
        await Deno.truncate(partIn(`${workbench.files}/a`), MB);
      }],
      ["more is there than the source has", async (workbench: Bench) => {
        await Deno.truncate(partIn(`${workbench.files}/a`), 30 * MB);
      }],
      ["the bytes there are others", async (workbench: Bench) => {
        const there = partIn(`${workbench.files}/a`);
        const { size } = await Deno.stat(there);
        using file = await Deno.open(there, { write: true });
        await file.write(randomBytes(MB));
        // A server may still be writing what it was given last.
        assert((await Deno.stat(there)).size >= size);
      }],
      ["the unfinished file is gone", async (workbench: Bench) => {
        await Deno.remove(partIn(`${workbench.files}/a`));
      }],
    ] as const
  ) {
    test(`put() begins anew if ${what}`, async (workbench) => {
      const source = await workbench.file(24 * MB);
      const part = await interrupt(workbench, source);
      await spoil(workbench, source);
      await using destination = await workbench.open();

      const receipt = await destination.put(source, "a/study.zip", { part });

      assertEquals(receipt.resumed, 0);
      await assertSameBytes(await workbench.received("a/study.zip"), await Deno.readFile(source));
    });
  }

  test("stat(), list(), rename() and remove() agree", async (workbench) => {
    await using destination = await workbench.open();
    const source = await workbench.file(1_000);
    await destination.put(source, "a/b c/1.zip");
    await destination.put(source, "a/2 ü.zip");

    assertEquals(await destination.stat("a/b c/1.zip"), { path: "a/b c/1.zip", bytes: 1_000 });
    assertEquals(await destination.stat("a/nothing.zip"), undefined);
    assertEquals(await destination.stat("nothing/1.zip"), undefined);
    const paths = async () => (await destination.list("a")).map(({ path, bytes }) => `${path}=${bytes}`).sort();
    assertEquals(await paths(), ["a/2 ü.zip=1000", "a/b c/1.zip=1000"]);
    assertEquals(await destination.list("nothing"), []);

    await destination.rename("a/2 ü.zip", "a/new/3.zip");
    assertEquals(await paths(), ["a/b c/1.zip=1000", "a/new/3.zip=1000"]);
    await assertFails("exists-different", () => destination.rename("a/b c/1.zip", "a/new/3.zip"));
    await assertFails("not-found", () => destination.rename("a/nothing.zip", "a/4.zip"));
    await assertFails("not-found", () => destination.rename("a/nothing.zip", "a/new/3.zip"));

    await destination.remove("a/new/3.zip");
    await destination.remove("a/new/3.zip");
    assertEquals(await paths(), ["a/b c/1.zip=1000"]);
  });

  test("list() has unfinished files too", async (workbench) => {
    await using destination = await workbench.open();
    await destination.put(await workbench.file(1_000), "a/1.zip");
    const part = partNameOf("a/2.zip");
    await workbench.plant(`a/${part}`, randomBytes(7));

    assertEquals((await destination.list("a")).map(({ path, bytes }) => `${path}=${bytes}`).sort(), [
      ...[`a/${part}=7`, "a/1.zip=1000"],
    ]);
  });

  test("list() leaves out names that could not be ours", async (workbench) => {
    await workbench.plant("ok.zip", randomBytes(1));
    for (const name of ["a\tb.zip", "a\r\nDELE ok.zip", "back\\slash"]) await workbench.plant(name, randomBytes(1));
    await using destination = await workbench.open();
    await destination.put(await workbench.file(1), "a/1.zip");
    await Deno.rename(`${workbench.files}/ok.zip`, `${workbench.files}/a/ok.zip`);
    for (const name of ["a\tb.zip", "a\r\nDELE ok.zip", "back\\slash"]) {
      await Deno.rename(`${workbench.files}/${name}`, `${workbench.files}/a/${name}`);
    }

    const found = (await destination.list("a")).map(({ path }) => path);

    assert(found.includes("a/ok.zip") && found.includes("a/1.zip"));
    assertEquals(found.filter((path) => /\p{Cc}|\\/u.test(path)), []);
    assertEquals((await destination.stat("a/ok.zip"))?.bytes, 1);
  });
}

/** Uploads most of a file of 24 MiB, as a process that was killed did. @returns What it knew. */
async function interrupt(workbench: Bench, source: string): Promise<PartRecord> {
  const abort = new AbortController();
  let part: PartRecord | undefined;
  {
    await using destination = await workbench.open();
    await assertRejects(async () => {
      await destination.put(source, "a/study.zip", {
        signal: abort.signal,
        onPart: (record) => part ??= record,
        onProgress: (bytes) => bytes > 20 * MB && abort.abort(new Error("killed")),
      });
    });
  }
  const [arrived] = partsIn(`${workbench.files}/a`);
  assert(part !== undefined && arrived === `${workbench.files}/a/${part.name}`);
  // What was handed over last may be under way still; what is missing is filled up, since that is not what this is about.
  const content = await Deno.readFile(source);
  if ((await Deno.stat(arrived)).size < part.bytes) {
    await workbench.plant(`a/${part.name}`, content.subarray(0, part.bytes));
  }
  assertEquals(await workbench.received("a/study.zip"), undefined);
  return part;
}
