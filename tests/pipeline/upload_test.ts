import { assert, assertEquals, assertGreater, assertNotMatch, assertRejects, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { type Lease, LeaseLostError, Ledger } from "../../src/database/mod.ts";
import { listFiles } from "../../src/demo/files.ts";
import { ExportError } from "../../src/exports/mod.ts";
import { type FileToSend, inTurn } from "../../src/pipeline/file_to_send.ts";
import { sendFile } from "../../src/pipeline/send_file.ts";
import { planZips, uploadImages } from "../../src/pipeline/upload_images.ts";
import { Uploader } from "../../src/pipeline/uploader.ts";
import { findZips } from "../../src/pipeline/zips.ts";
import { FtpsPool, type PutOptions, type Receipt, UploadError } from "../../src/upload/mod.ts";
import { embeddedTest } from "../support/databases.ts";
import { startReceiver } from "../support/receiver.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
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

embeddedTest("Uploader.uploadImage() says so where it cannot keep a stream, and lets go of it", async () => {
  await using place = await site("no-spool", 1);
  const { ledger, dir, slug, share, pseudonyms: [pseudonym = ""] } = place;
  const uploader = new Uploader(ledger, share, { spoolDir: `${dir}/gone` });
  let reason: unknown;
  const stream = new ReadableStream({ cancel: (why) => void (reason = why) });

  const error = await assertRejects(() => uploader.uploadImage(stream, pseudonym, slug), UploadError, `${dir}/gone`);

  assertEquals(reason === error, true);
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
