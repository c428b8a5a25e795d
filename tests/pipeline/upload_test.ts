import { assert, assertEquals, assertGreater, assertNotMatch, assertRejects, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { DatabaseError, type Lease, LeaseLostError, Ledger } from "../../src/database/mod.ts";
import { listFiles } from "../../src/demo/files.ts";
import { ExportError } from "../../src/exports/mod.ts";
import { checkProject } from "../../src/pipeline/check_project.ts";
import { type FileToSend, inTurn } from "../../src/pipeline/file_to_send.ts";
import { sendFile } from "../../src/pipeline/send_file.ts";
import { planZips, uploadImages } from "../../src/pipeline/upload_images.ts";
import { Uploader } from "../../src/pipeline/uploader.ts";
import { watchImages } from "../../src/pipeline/watch_images.ts";
import { findZips } from "../../src/pipeline/zips.ts";
import {
  type Destination,
  DirectoryDestination,
  FtpsPool,
  type PutOptions,
  type Receipt,
  UploadError,
  type UploadErrorCode,
} from "../../src/upload/mod.ts";
import { embeddedTest } from "../support/databases.ts";
import { startReceiver } from "../support/receiver.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { until } from "../support/until.ts";
import { randomBytes } from "../upload/workbench.ts";
import { sharedDatabase, site, writeManifest, writeZip } from "./upload_site.ts";

const MB = 1 << 20;

Deno.test("inTurn() gives each project its turn, and keeps the order within each", () => {
  const file = (projectSlug: string, n: number): FileToSend => ({
    projectSlug,
    source: "",
    bytes: n,
    path: `${projectSlug}/${n}`,
    record: () => Promise.resolve(),
  });
  fc.assert(fc.property(fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 50 }), (projects) => {
    const files = projects.map(file);

    const ordered = inTurn(files);

    assertEquals(ordered.toSorted((a, b) => a.bytes - b.bytes), files);
    const seen = new Map<string, number>();
    const total = (project: string) => projects.filter((each) => each === project).length;
    for (const { projectSlug, bytes } of ordered) {
      const before = files.filter((each) => each.projectSlug === projectSlug && each.bytes < bytes).length;
      assertEquals(seen.get(projectSlug) ?? 0, before);
      seen.set(projectSlug, before + 1);
      // Nobody is more than one file behind while there is something left of theirs.
      for (const other of new Set(projects)) {
        assert((seen.get(other) ?? 0) >= Math.min(total(other), before), `${other} waits`);
      }
    }
  }));
});

embeddedTest("a destination that is dead does not hold up another project's uploads", async () => {
  await using server = await startReceiver({ mode: "explicit" });
  await using proxy = new TcpProxy(server.port);
  await using dead = await site("dead", 5);
  await using alive = await site("alive", 20);
  await using pool = await FtpsPool.open({ ...server, port: proxy.port, timeoutMs: 60_000, connections: 2 });
  proxy.freeze();
  const abort = new AbortController();
  const waiting = uploadImages(dead.ledger, `${dead.dir}/images`, pool, {
    projectSlug: dead.slug,
    concurrency: 2,
    signal: abort.signal,
  });

  const { sent } = await uploadImages(alive.ledger, `${alive.dir}/images`, alive.share, { projectSlug: alive.slug });

  assertEquals(sent, 20);
  abort.abort(new Error("enough"));
  await assertRejects(() => waiting, Error, "enough");
  const states = (await dead.ledger.summary(dead.slug)).filter(({ kind }) => kind === "image");
  assertEquals(states.map(({ state, count }) => [state, count]), [["done", 5]]);
});

embeddedTest("uploadImages() ends at once where the destination refuses us, and says so for single files", async () => {
  await using place = await site("refused", 6);
  const { ledger, dir, slug, pseudonyms, share } = place;
  await Deno.remove(`${dir}/images/${pseudonyms[1]}.zip`);
  await Deno.mkdir(`${dir}/share/${slug}`);
  await Deno.writeTextFile(`${dir}/share/${slug}/${pseudonyms[2]}.zip`, "something else");

  const result = await uploadImages(ledger, `${dir}/images`, share, { projectSlug: slug, concurrency: 3 });

  assertEquals([result.sent, result.failed.map(({ path }) => path).sort()], [
    4,
    [1, 2].map((n) => `${slug}/${pseudonyms[n]}.zip`).sort(),
  ]);
  await Deno.remove(`${dir}/share`, { recursive: true });
  await Deno.copyFile(`${dir}/images/${pseudonyms[0]}.zip`, `${dir}/images/${pseudonyms[1]}.zip`);
  const error = await assertRejects(
    async () => void await uploadImages(ledger, `${dir}/images`, share, { projectSlug: slug, concurrency: 3 }),
    UploadError,
  );
  assertEquals(error.code, "unreachable");
});

embeddedTest("planZips() leaves no zip unmentioned: it is sent, failed or left", async () => {
  await using place = await site("states", 4);
  const { ledger, dir, slug, pseudonyms: [done = "", exported = "", queued = "", twice = ""], share } = place;
  for (const pseudonym of [exported, queued]) {
    await new Uploader(ledger, share).uploadImage(`${dir}/images/${pseudonym}.zip`, pseudonym, slug);
  }
  await Deno.writeFile(`${dir}/images/${exported}.zip`, randomBytes(7));
  const [image] = await ledger.imagesOf([queued]);
  await ledger.unexport(image?.imageId ?? 0, "queued");
  await Deno.copyFile(`${dir}/images/${twice}.zip`, `${dir}/exports/${twice}.zip`);

  const { files, failed, left } = await planZips(ledger, await findZips([`${dir}/images`, `${dir}/exports`]));

  assertEquals(files.map(({ source }) => source), [`${dir}/images/${done}.zip`, `${dir}/images/${twice}.zip`]);
  assertEquals(left, [{ path: `${slug}/${exported}.zip`, reason: "its study is exported already" }]);
  assertEquals(failed.map(({ path }) => path), [`${dir}/exports/${twice}.zip`, `${slug}/${queued}.zip`]);
  assertStringIncludes(failed[1]?.reason ?? "", "its study is queued, not done");
});

embeddedTest("planZips() tells the folder and number of zips that the ledger does not know, and no name", async () => {
  await using place = await site("strangers", 1);
  const { ledger, dir } = place;
  for (const path of ["images/MRNSEED1", "images/MRNSEED2", "exports/MRNSEED2"]) {
    await Deno.writeTextFile(`${dir}/${path}.zip`, "x");
  }

  const { files, failed } = await planZips(ledger, await findZips([`${dir}/images`, `${dir}/exports`]));

  assertEquals([files.length, failed.map(({ path }) => path)], [1, [`${dir}/images`, `${dir}/exports`]]);
  assertStringIncludes(failed[0]?.reason ?? "", "Cannot upload 2 zips of this folder");
  assertStringIncludes(failed[1]?.reason ?? "", "Cannot upload 1 zip of this folder");
  assertNotMatch(JSON.stringify(failed), /MRNSEED/);
});

embeddedTest("uploadImages() does not send a zip that was rewritten since it was found", async () => {
  await using place = await site("rewritten", 3);
  const { ledger, dir, slug, share, pseudonyms: [first = "", half = "", other = ""] } = place;
  // While the first goes out: one is begun anew, one was replaced by a whole one.
  const busy = new Proxy(share, {
    get: (target, name) =>
      name === "put"
        ? async (source: string, path: string, options: PutOptions) => {
          if (path.includes(first)) {
            await Deno.writeFile(`${dir}/images/${half}.zip`, randomBytes(300));
            await writeZip(`${dir}/images/${other}.zip`);
          }
          return await target.put(source, path, options);
        }
        : Reflect.get(target, name, target),
  });

  const { sent, failed } = await uploadImages(ledger, `${dir}/images`, busy, { projectSlug: slug });

  assertEquals([sent, failed.map(({ path }) => path)], [1, [`${slug}/${half}.zip`, `${slug}/${other}.zip`]]);
  assertStringIncludes(failed[0]?.reason ?? "", "changed since it was found");
  assertEquals((await ledger.imagesOf([half, other])).map(({ state }) => state), ["done", "done"]);
  await writeZip(`${dir}/images/${half}.zip`);
  assertEquals((await uploadImages(ledger, `${dir}/images`, share, { projectSlug: slug })).sent, 2);
});

/** A share that takes nothing, for that reason, and calls back at each try. */
function refusing(share: Destination, code: UploadErrorCode, onTry: () => void): Destination {
  return new Proxy(share, {
    get: (target, name) =>
      name === "put"
        ? () => (onTry(), Promise.reject(new UploadError(code, "Cannot upload: no")))
        : Reflect.get(target, name, target),
  });
}

for (
  const [code, least] of [
    ["no-space", [2, 4, 8]], // the whole look waits
    ["verification-failed", [2, 3, 5]], // one zip rests for 1, 2 and 4 looks
  ] as const
) {
  embeddedTest(`watchImages() waits longer after each ${code}`, async () => {
    await using place = await site("waits", 1);
    const { ledger, dir, slug, share, pseudonyms: [pseudonym = ""] } = place;
    await writeZip(`${dir}/images/${pseudonym}.zip`);
    const abort = new AbortController();
    const times: number[] = [];
    const destination = refusing(share, code, () => {
      times.push(performance.now());
      if (times.length === 4) abort.abort();
    });

    await watchImages(ledger, [`${dir}/images`], destination, {
      signal: abort.signal,
      projectSlug: slug,
      intervalMs: 20,
    });

    for (const [at, intervals] of least.entries()) {
      assertGreater((times[at + 1] ?? 0) - (times[at] ?? 0), 20 * intervals - 5);
    }
  });
}

embeddedTest("watchImages() goes on where a folder is gone, and tells so once", async () => {
  await using place = await site("gone", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym = ""] } = place;
  await writeZip(`${dir}/images/${pseudonym}.zip`);
  const abort = new AbortController();
  const problems: string[] = [];

  const { sent } = await watchImages(ledger, [`${dir}/gone`, `${dir}/images`], share, {
    signal: abort.signal,
    intervalMs: 20,
    onProblem: ({ path }) => problems.push(path),
    onRound: () => abort.abort(),
  });

  assertEquals([sent, problems], [1, [`${dir}/gone`]]);
});

embeddedTest("watchImages() waits for a database out of reach, and tells so once", async () => {
  await using place = await site("outage", 1);
  const { ledger, dir, share } = place;
  const abort = new AbortController();
  let asked = 0;
  const restarting = new Proxy(ledger, {
    get(target, name) {
      if (name === "imagesOf" && ++asked < 4) {
        return () => Promise.reject(new DatabaseError("database-unreachable", "Cannot look: try again"));
      }
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const problems: string[] = [];

  const { sent } = await watchImages(restarting, [`${dir}/images`], share, {
    signal: abort.signal,
    intervalMs: 5,
    onProblem: ({ path }) => problems.push(path),
    onRound: () => abort.abort(),
  });

  assertEquals([sent, problems], [1, ["ledger"]]);
});

embeddedTest("watchImages() counts what was sent in a look that failed later", async () => {
  await using place = await site("counted", 3);
  const { ledger, dir, share } = place;
  const abort = new AbortController();
  let puts = 0;
  const failing = new Proxy(share, {
    get: (target, name) =>
      name === "put"
        ? (source: string, path: string, options: PutOptions) =>
          ++puts === 2
            ? Promise.reject(new UploadError("unreachable", "Cannot reach it"))
            : target.put(source, path, options)
        : Reflect.get(target, name, target),
  });

  const { sent, verified } = await watchImages(ledger, [`${dir}/images`], failing, {
    signal: abort.signal,
    intervalMs: 5,
    onRound: () => abort.abort(),
  });

  assertEquals([sent, verified], [3, 3]);
});

embeddedTest(
  "watchImages() leaves a zip that grows alone until it stays the same, though it have its end",
  async () => {
    await using place = await site("grows", 1);
    const { ledger, dir, slug, share, pseudonyms: [pseudonym = ""] } = place;
    const zip = `${dir}/images/${pseudonym}.zip`;
    const abort = new AbortController();
    const finished: number[] = [];
    // Asked in each look, after the folder was read.
    const watched = new Proxy(ledger, {
      get(target, name) {
        const value = Reflect.get(target, name, target);
        if (name !== "imagesOf") return typeof value === "function" ? value.bind(target) : value;
        return async (pseudonyms: readonly string[]) => {
          finished.push(pseudonyms.length);
          if (finished.length <= 5) await writeZip(zip, 1_000 * (1 + finished.length));
          return await target.imagesOf(pseudonyms);
        };
      },
    });

    await watchImages(watched, [`${dir}/images`], share, {
      signal: abort.signal,
      intervalMs: 5,
      onRound: () => abort.abort(),
    });

    assertEquals(finished, [0, 0, 0, 0, 0, 0, 1]);
    assertEquals((await Deno.stat(`${dir}/share/${slug}/${pseudonym}.zip`)).size, 6_000);
  },
);

embeddedTest("watchImages() tells once of a zip that stays without its end", async () => {
  await using place = await site("half", 2);
  const { ledger, dir, slug, share, pseudonyms: [half = "", whole = ""] } = place;
  await Deno.writeFile(`${dir}/images/${half}.zip`, randomBytes(100));
  await Deno.remove(`${dir}/images/${whole}.zip`);
  const abort = new AbortController();
  const problems: string[] = [];
  const watching = watchImages(ledger, [`${dir}/images`], share, {
    signal: abort.signal,
    intervalMs: 5,
    onProblem: ({ path }) => problems.push(path),
    onRound: () => abort.abort(),
  });
  await until("it was told of", () => problems.length > 0);
  await writeZip(`${dir}/images/${whole}.zip`); // two more looks, at least
  await watching;

  assertEquals(problems, [`${slug}/${half}.zip`]);
});

/** What a process that was killed has left in the ledger. */
async function leftNote(ledger: Ledger, destination: string, path: string) {
  const note = await ledger.claimUpload(destination, path, "none", { owner: "test", leaseMs: 60_000 });
  await ledger.releaseUpload(destination, path, "test");
  return note;
}

const unrecorded = { record: () => Promise.resolve() };

embeddedTest("sendFile() goes on where a process was cut off, by what the ledger knows", async () => {
  await using place = await site("resumed", 0);
  const { ledger, dir, slug, share } = place;
  const file = { source: `${dir}/large.zip`, path: `${slug}/large.zip`, ...unrecorded };
  await Deno.writeFile(file.source, randomBytes(40 * MB));
  const abort = new AbortController();
  await assertRejects(() =>
    sendFile(ledger, share, file, {
      signal: abort.signal,
      onProgress: (bytes) => bytes > 36 * MB && abort.abort(new Error("killed")),
    })
  );
  assertEquals((await leftNote(ledger, share.name, file.path))?.bytes, 32 * MB);

  const receipt = await sendFile(ledger, share, file);

  assertEquals([receipt.resumed, receipt.bytes], [32 * MB, 40 * MB]);
  assertEquals((await leftNote(ledger, share.name, file.path))?.name, "none");
});

embeddedTest("sendFile() takes away what a process that was killed early had begun", async () => {
  await using place = await site("killed", 0);
  const { ledger, dir, slug, share } = place;
  const file = { source: `${dir}/small.zip`, path: `${slug}/small.zip`, ...unrecorded };
  await Deno.writeFile(file.source, randomBytes(1_000));
  await Deno.mkdir(`${dir}/share/${slug}`);
  await ledger.claimUpload(share.name, file.path, ".small.zip.0badcafe.part", { owner: "killed", leaseMs: 0 });
  await Deno.writeFile(`${dir}/share/${slug}/.small.zip.0badcafe.part`, randomBytes(500));

  await sendFile(ledger, share, file);

  assertEquals((await Array.fromAsync(Deno.readDir(`${dir}/share/${slug}`))).map(({ name }) => name), ["small.zip"]);
});

embeddedTest("sendFile() of two uploaders to one path: the second waits, and finds it there", async () => {
  await using place = await site("rivals", 0);
  const { ledger, dir, slug, share } = place;
  const file = { source: `${dir}/x.zip`, path: `${slug}/x.zip`, ...unrecorded };
  await Deno.writeFile(file.source, randomBytes(8 * MB));
  let second: Promise<Receipt> | undefined;

  const first = await sendFile(ledger, share, file, {
    onProgress: () => second ??= sendFile(ledger, share, file, { onProgress: () => assert(false, "sent twice") }),
  });

  assertEquals([first.skipped, (await second)?.skipped], [false, true]);
});

embeddedTest("uploadImages() of two programs at once sends each study once", async () => {
  await using place = await site("twice", 12);
  const { ledger, dir, slug, share } = place;
  const upload = () => uploadImages(ledger, `${dir}/images`, share, { projectSlug: slug, concurrency: 3 });

  const results = await Promise.all([upload(), upload()]);

  assertEquals(results.map(({ verified, failed }) => [verified, failed]), [[12, []], [12, []]]);
  assertEquals(results.reduce((sum, { sent }) => sum + sent, 0), 12);
});

embeddedTest("sendFile() sends a file though nothing can be noted of its way", async () => {
  await using place = await site("unnoted", 0);
  const { dir, slug, share } = place;
  class Forgetful extends Ledger {
    override notePart(): Promise<void> {
      return Promise.reject(new Error("the ledger is away"));
    }
    override forgetPart(): Promise<void> {
      return Promise.reject(new Error("the ledger is away"));
    }
  }
  const file = { source: `${dir}/large.zip`, path: `${slug}/large.zip`, ...unrecorded };
  await Deno.writeFile(file.source, randomBytes(20 * MB));

  const receipt = await sendFile(new Forgetful(await sharedDatabase()), share, file);

  assertEquals(receipt.bytes, 20 * MB);
});

embeddedTest("sendFile() does not go on with what did not verify, though it cannot be removed there", async () => {
  await using place = await site("unverified", 0);
  const { ledger, dir, slug, share } = place;
  const file = { source: `${dir}/x.zip`, path: `${slug}/x.zip`, ...unrecorded };
  await Deno.writeFile(file.source, randomBytes(1_000));
  const names: (string | undefined)[] = [];
  const wrong = new Proxy(share, {
    get: (target, key) =>
      key === "put"
        ? (_source: string, _path: string, { partName, part }: PutOptions) => {
          names.push(partName);
          assertEquals(part, undefined);
          return Promise.reject(new UploadError("verification-failed", "other bytes"));
        }
        : Reflect.get(target, key),
  });

  for (let run = 0; run < 2; run++) await assertRejects(() => sendFile(ledger, wrong, file), UploadError);

  assertEquals(new Set(names).size, 2);
});

embeddedTest(
  "sendFile() does not vouch for what is there by an older transfer, after an attempt whose end nobody knows",
  async () => {
    await using place = await site("unknown", 0);
    const { ledger, dir, slug, share } = place;
    const file = { source: `${dir}/x.zip`, path: `${slug}/x.zip`, ...unrecorded };
    await Deno.writeFile(file.source, randomBytes(1_000));
    const vouched: boolean[] = [];
    const watched = new Proxy(share, {
      get: (target, key) =>
        key === "put"
          ? (source: string, path: string, options: PutOptions) => {
            vouched.push(options.knownSha256 !== undefined);
            return share.put(source, path, options);
          }
          : Reflect.get(target, key),
    });
    const { sha256, bytes, verifiedBy } = await sendFile(ledger, watched, file);
    await ledger.recordTransfer({
      ...{ destination: share.name, path: file.path, bytes, sha256, verifiedBy, version: "1" },
    });

    await sendFile(ledger, watched, file);
    await ledger.claimUpload(share.name, file.path, ".x.zip.0badcafe.part", { owner: "killed", leaseMs: 0 });
    await sendFile(ledger, watched, file);

    assertEquals(vouched, [false, true, false]);
  },
);

embeddedTest("sendFile() stops when another has taken the path over", async () => {
  await using place = await site("late", 0);
  const { dir, slug, share } = place;
  const file = { source: `${dir}/x.zip`, path: `${slug}/x.zip`, ...unrecorded };
  await Deno.writeFile(file.source, randomBytes(1_000));
  const stalled = new Proxy(share, {
    get: (target, key) =>
      key === "put"
        ? (_source: string, _path: string, { signal }: PutOptions) =>
          new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)))
        : Reflect.get(target, key),
  });
  class Held extends Ledger {
    override renewUpload(_destination: string, path: string, { owner }: Lease): Promise<void> {
      return Promise.reject(new LeaseLostError("upload", path, owner));
    }
  }
  const held = new Held(await sharedDatabase());

  const error = await assertRejects(() => sendFile(held, stalled, file, { leaseMs: 40 }), UploadError);

  assertEquals([error.code, error.retryable], ["interrupted", true]);
});

embeddedTest("Uploader.uploadImage() takes a path or a stream, and only studies that are done", async () => {
  await using place = await site("images", 2);
  const { ledger, dir, slug, pseudonyms: [one = "", two = ""], share } = place;
  const uploader = new Uploader(ledger, share);

  const first = await uploader.uploadImage(`${dir}/images/${one}.zip`, one, slug);
  const second = await uploader.uploadImage((await Deno.open(`${dir}/images/${two}.zip`)).readable, two, slug);

  for (const [receipt, pseudonym] of [[first, one], [second, two]] as const) {
    const [there, here] = [`${dir}/share/${slug}/${pseudonym}.zip`, `${dir}/images/${pseudonym}.zip`];
    assertEquals(await Deno.readFile(there), await Deno.readFile(here));
    assertEquals((await ledger.findTransfer(share.name, `${slug}/${pseudonym}.zip`))?.sha256, receipt.sha256);
  }
  assertEquals((await ledger.imagesOf([one, two])).map(({ state }) => state), ["exported", "exported"]);
  assertEquals((await uploader.uploadImage(`${dir}/images/${one}.zip`, one, slug)).skipped, true);
  for (const [pseudonym, project] of [["2.25.0", slug], [one, "elsewhere"]] as const) {
    const error = await assertRejects(
      async () => void await uploader.uploadImage(`${dir}/images/${one}.zip`, pseudonym, project),
      UploadError,
    );
    assertEquals(error.code, "not-found");
  }
});

embeddedTest("Uploader.uploadTags() sends a DICOM JSON file beside the zip, or nothing", async () => {
  await using place = await site("tags", 1);
  const { ledger, dir, slug, pseudonyms: [pseudonym = ""], share } = place;
  const uploader = new Uploader(ledger, share);
  const tags = { "00080060": { vr: "CS", Value: ["CT"] } };

  const receipt = await uploader.uploadTags(tags, pseudonym, slug);

  assertEquals(JSON.parse(await Deno.readTextFile(`${dir}/share/${slug}/${pseudonym}.json`)), tags);
  assertEquals((await ledger.findTransfer(share.name, `${slug}/${pseudonym}.json`))?.sha256, receipt.sha256);
  const named = { "00100010": { vr: "PN", Value: [{ Alphabetic: "MRNSEED^A" }] } };
  const error = await assertRejects(() => uploader.uploadTags(named, "2.25.9", slug), UploadError);
  assertStringIncludes(error.message, "00100010");
  assertEquals(await listFiles(`${dir}/share`), [`${slug}/${pseudonym}.json`]);
});

embeddedTest("Uploader.uploadTags() sends those of studies that are done, and takes no path for a name", async () => {
  await using place = await site("whose-tags", 1);
  const { ledger, dir, slug, pseudonyms: [pseudonym = ""], share } = place;
  const uploader = new Uploader(ledger, share);
  const tags = { "00080060": { vr: "CS", Value: ["CT"] } };

  for (
    const [code, project, name] of [
      ["not-found", slug, "MRNSEED"],
      ["not-found", "elsewhere", pseudonym],
      ["invalid-name", slug, `below/${pseudonym}`],
      ["invalid-name", `${slug}/below`, pseudonym],
      ["invalid-name", `${slug}\\below`, pseudonym],
    ] as const
  ) {
    const error = await assertRejects(() => uploader.uploadTags(tags, name, project), UploadError);
    assertEquals(error.code, code);
    assertNotMatch(error.message, /MRNSEED/);
  }
  assertEquals(await listFiles(`${dir}/share`), []);
});

embeddedTest("Uploader.uploadImage() refuses what has no end as zips have", async () => {
  await using place = await site("no-zip", 1);
  const { ledger, dir, slug, share, pseudonyms: [pseudonym = ""] } = place;
  await Deno.writeFile(`${dir}/images/${pseudonym}.zip`, new Uint8Array(1_000));
  const uploader = new Uploader(ledger, share);
  const sources = [`${dir}/images/${pseudonym}.zip`, new Blob([new Uint8Array(1_000)]).stream()];
  for (const source of sources) {
    const error = await assertRejects(() => uploader.uploadImage(source, pseudonym, slug), UploadError, "no end");
    assertEquals(error.code, "source-changed");
  }
  assertEquals(await listFiles(`${dir}/share`), []);
  assertEquals((await ledger.imagesOf([pseudonym])).map(({ state }) => state), ["done"]);
});

embeddedTest("Uploader.uploadImage() can be aborted while its stream gives nothing", async () => {
  await using place = await site("stalled", 1);
  const { ledger, dir, slug, pseudonyms: [pseudonym = ""], share } = place;
  const uploader = new Uploader(ledger, share, { spoolDir: dir });
  const abort = new AbortController();
  let cancelled: unknown;
  const source = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new Uint8Array(10)),
    // Asked for more, it gives nothing.
    pull: () => void queueMicrotask(() => abort.abort(new Error("enough"))),
    cancel: (reason) => void (cancelled = reason),
  }, { highWaterMark: 1 });

  await assertRejects(() => uploader.uploadImage(source, pseudonym, slug, { signal: abort.signal }), Error, "enough");

  assertEquals(String(cancelled), "Error: enough");
  assertEquals((await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name).sort(), [
    "exports",
    "images",
    "share",
  ]);
});

embeddedTest("Uploader.uploadExport() sends the manifest last, and only if all the rest is there", async () => {
  await using place = await site("export", 0);
  const { ledger, dir, slug, parquetExport, share } = place;
  await writeManifest(parquetExport);
  const base = `${slug}/2023-12-07t14-08-58/parquet`;
  const uploader = new Uploader(ledger, share);
  await Deno.mkdir(`${dir}/share/${base}/radiology`, { recursive: true });
  await Deno.writeTextFile(`${dir}/share/${base}/radiology/radiology.parquet`, "something else");

  const failed = await uploader.uploadExport(parquetExport);

  assertEquals([failed.sent, failed.failed.length], [1, 1]);
  assert(!(await listFiles(`${dir}/share`)).includes(`${base}/manifest.json`));
  const whole = await uploader.uploadExport(parquetExport, { replace: true });
  assertEquals([whole.sent, whole.verified, whole.failed], [2, 3, []]);
  const sent = await ledger.transfersTo(share.name, slug);
  assertEquals(sent.length, 3);
  const times = await Promise.all(
    ["omop/public/A.parquet", "radiology/radiology.parquet", "manifest.json"].map(async (path) =>
      (await ledger.findTransfer(share.name, `${base}/${path}`))?.transferId ?? 0
    ),
  );
  assertGreater(times[2] ?? 0, Math.max(times[0] ?? 0, times[1] ?? 0));

  // Made anew: the manifest there is taken away before the first of the new files comes.
  await Deno.writeFile(`${parquetExport.dir}/omop/public/A.parquet`, randomBytes(600));
  const manifest = await writeManifest(parquetExport);
  const abort = new AbortController();
  await assertRejects(() =>
    uploader.uploadExport(parquetExport, {
      replace: true,
      signal: abort.signal,
      onProgress: () => abort.abort(new Error("killed")),
    })
  );
  assert(!(await listFiles(`${dir}/share`)).includes(`${base}/manifest.json`));
  assertEquals((await uploader.uploadExport(parquetExport, { replace: true })).failed, []);
  assertEquals(await Deno.readTextFile(`${dir}/share/${base}/manifest.json`), manifest);
});

embeddedTest("Uploader.uploadExport() sends no manifest of an export that was replaced while it was sent", async () => {
  await using place = await site("replaced", 0);
  const { ledger, dir, slug, parquetExport, share } = place;
  await writeManifest(parquetExport);
  let replaced: Promise<string> | undefined;
  let puts = 0;
  const replace = async () => {
    for (const path of ["omop/public/A.parquet", "radiology/radiology.parquet"]) {
      await Deno.writeFile(`${dir}/new`, randomBytes(500));
      await Deno.rename(`${dir}/new`, `${parquetExport.dir}/${path}`);
    }
    return await writeManifest(parquetExport);
  };
  const late = new Proxy(share, {
    get: (target, key) =>
      key === "put"
        ? async (source: string, path: string, options: PutOptions) => {
          const receipt = await share.put(source, path, options);
          if (++puts === 2) await (replaced = replace());
          return receipt;
        }
        : key === "connections"
        ? 1
        : Reflect.get(target, key),
  });

  const { sent, failed } = await new Uploader(ledger, late).uploadExport(parquetExport);

  const path = `${slug}/2023-12-07t14-08-58/parquet/manifest.json`;
  assertEquals([sent, failed.map((each) => each.path)], [2, [path]]);
  assert(!(await listFiles(`${dir}/share`)).includes(path));
  assertEquals((await new Uploader(ledger, share).uploadExport(parquetExport, { replace: true })).failed, []);
  assertEquals(await Deno.readTextFile(`${dir}/share/${path}`), await replaced);
});

embeddedTest("Uploader.uploadExport() sends nothing that was damaged since the manifest was written", async () => {
  await using place = await site("damaged", 0);
  const { ledger, dir, slug, parquetExport, share } = place;
  await writeManifest(parquetExport);
  const uploader = new Uploader(ledger, share);
  assertEquals((await uploader.uploadExport(parquetExport)).failed, []);
  const path = "radiology/radiology.parquet";
  const sent = await Deno.readFile(`${parquetExport.dir}/${path}`);
  await Deno.writeFile(`${parquetExport.dir}/${path}`, randomBytes(500));

  const { failed } = await uploader.uploadExport(parquetExport, { replace: true });

  const base = `${slug}/2023-12-07t14-08-58/parquet`;
  assertEquals(failed.map((each) => each.path), [`${base}/${path}`]);
  assertEquals(await Deno.readFile(`${dir}/share/${base}/${path}`), sent);
});

embeddedTest("Uploader.uploadExport() sends no export that nobody could tell to be whole", async () => {
  await using place = await site("unnamed", 0);
  const { ledger, dir, parquetExport, share } = place;
  const uploader = new Uploader(ledger, share);
  await assertRejects(() => uploader.uploadExport(parquetExport), ExportError, "manifest.json");
  await writeManifest(parquetExport);
  await Deno.rename(`${parquetExport.dir}/radiology`, `${dir}/radiology`);
  await assertRejects(() => uploader.uploadExport(parquetExport), ExportError, "not whole");
  assertEquals(await listFiles(`${dir}/share`), []);

  await Deno.rename(`${dir}/radiology`, `${parquetExport.dir}/radiology`);
  await Deno.writeFile(`${parquetExport.dir}/omop/public/B.parquet`, randomBytes(9));
  await writeManifest(parquetExport);
  await Deno.remove(`${parquetExport.dir}/omop/public/B.parquet`);
  const { sent, failed } = await uploader.uploadExport(parquetExport);
  assertEquals([sent, failed.map(({ path }) => path.split("/").at(-1))], [2, ["manifest.json"]]);
});

embeddedTest("checkProject() sets back only what was sent to this destination", async () => {
  await using place = await site("check", 2);
  const { ledger, dir, slug, pseudonyms: [here = "", elsewhere = ""], share } = place;
  const uploader = new Uploader(ledger, share);
  await uploader.uploadImage(`${dir}/images/${here}.zip`, here, slug);
  await Deno.remove(`${dir}/share/${slug}/${here}.zip`);
  await Deno.mkdir(`${dir}/other`);
  await using other = await DirectoryDestination.open(`${dir}/other`);
  await new Uploader(ledger, other).uploadImage(`${dir}/images/${elsewhere}.zip`, elsewhere, slug);

  const { disagreements } = await checkProject(ledger, share, slug, {
    exportDir: `${dir}/exports`,
    imageDir: `${dir}/images`,
    repair: true,
  });

  const missing = disagreements.filter(({ path }) => path.endsWith(".zip"));
  assertEquals(missing.map(({ side, problem, path, repaired }) => [side, problem, path, repaired]), [
    ["dsh", "missing", `${slug}/${here}.zip`, true],
    ["dsh", "missing", `${slug}/${elsewhere}.zip`, false],
  ]);
  assertEquals((await ledger.imagesOf([here, elsewhere])).map(({ state }) => state), ["done", "exported"]);
});

embeddedTest("checkProject() does not set back what arrives while it looks", async () => {
  await using place = await site("check-late", 1);
  const { ledger, dir, slug, pseudonyms: [late = ""], share } = place;
  // An upload ends between the listing and what follows it.
  const busy = new Proxy(share, {
    get(target, name) {
      if (name === "name") return target.name;
      assertEquals(name, "list");
      return async (folder: string) => {
        const before = await target.list(folder);
        await new Uploader(ledger, target).uploadImage(`${dir}/images/${late}.zip`, late, slug);
        return before;
      };
    },
  });
  const { disagreements } = await checkProject(ledger, busy, slug, {
    exportDir: `${dir}/exports`,
    imageDir: `${dir}/images`,
    repair: true,
  });
  const zips = disagreements.filter(({ path }) => path.endsWith(".zip"));
  assertEquals(zips.map(({ side, problem, repaired }) => [side, problem, repaired]), [["dsh", "missing", false]]);
  assertStringIncludes(zips[0]?.remedy ?? "", "not sent yet"); // as it was when it began to look
  assertEquals((await ledger.imagesOf([late])).map(({ state }) => state), ["exported"]);
});

embeddedTest("checkProject() says that a zip is another one than was sent", async () => {
  await using place = await site("changed", 2);
  const { ledger, dir, slug, pseudonyms: [changed = "", same = ""], share } = place;
  for (const each of [changed, same]) {
    await new Uploader(ledger, share).uploadImage(`${dir}/images/${each}.zip`, each, slug);
  }
  const check = async () => {
    const options = { exportDir: `${dir}/exports`, imageDir: `${dir}/images` };
    const { disagreements } = await checkProject(ledger, share, slug, options);
    return disagreements.filter(({ path }) => path.endsWith(".zip")).map((
      { side, problem, path },
    ) => [side, problem, path]);
  };
  assertEquals(await check(), []);

  await Deno.writeFile(`${dir}/images/${changed}.zip`, randomBytes(7));
  await Deno.remove(`${dir}/images/${same}.zip`);

  assertEquals(await check(), [["local", "different", `${slug}/${changed}.zip`]]);
});

embeddedTest("checkProject() sets nothing back that is there though the listing does not have it", async () => {
  await using place = await site("unlisted", 1);
  const { ledger, dir, slug, pseudonyms: [pseudonym = ""], share } = place;
  await new Uploader(ledger, share).uploadImage(`${dir}/images/${pseudonym}.zip`, pseudonym, slug);
  const spoilt = new Proxy(share, {
    get(target, name) {
      if (name === "list") return () => Promise.resolve([]);
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });

  const { agreed, disagreements } = await checkProject(ledger, spoilt, slug, {
    exportDir: `${dir}/no-exports`,
    imageDir: `${dir}/images`,
    repair: true,
  });

  assertEquals([agreed, disagreements], [1, []]);
  assertEquals((await ledger.imagesOf([pseudonym])).map(({ state }) => state), ["exported"]);
});

embeddedTest("checkProject() sets nothing back where it cannot look into the folder of images", async () => {
  await using place = await site("unreadable", 1);
  const { ledger, dir, slug, pseudonyms: [pseudonym = ""], share } = place;
  await new Uploader(ledger, share).uploadImage(`${dir}/images/${pseudonym}.zip`, pseudonym, slug);
  await Deno.remove(`${dir}/share/${slug}/${pseudonym}.zip`);
  const options = { exportDir: `${dir}/no-exports`, imageDir: `${dir}/images/${pseudonym}.zip`, repair: true };

  await assertRejects(() => checkProject(ledger, share, slug, options), UploadError, "Cannot look into");

  assertEquals((await ledger.imagesOf([pseudonym])).map(({ state }) => state), ["exported"]);
});

embeddedTest("checkProject() says how many zips here are of no study, and not their names", async () => {
  await using place = await site("strange", 1);
  const { ledger, dir, slug, share } = place;
  for (const name of ["DOE^JANE", "DOE^JOHN"]) await writeZip(`${dir}/images/${name}.zip`);

  const { disagreements } = await checkProject(ledger, share, slug, {
    exportDir: `${dir}/no-exports`,
    imageDir: `${dir}/images`,
  });

  const extra = disagreements.filter(({ problem }) => problem === "extra");
  assertEquals(extra.map(({ side, path }) => [side, path]), [["local", `${dir}/images`]]);
  assertStringIncludes(extra[0]?.remedy ?? "", "2 zips");
  assertEquals(JSON.stringify(disagreements).includes("DOE"), false);
});
