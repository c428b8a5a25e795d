import { assertEquals, assertGreater, assertRejects } from "@std/assert";
import { deadline, delay } from "@std/async";
import { DatabaseError } from "../../src/database/mod.ts";
import { watchImages } from "../../src/pipeline/watch_images.ts";
import { type Destination, type PutOptions, UploadError, type UploadErrorCode } from "../../src/upload/mod.ts";
import { embeddedTest } from "../support/databases.ts";
import { until } from "../support/until.ts";
import { randomBytes } from "../upload/workbench.ts";
import { fails, sharing } from "./sharing.ts";
import { site, writeZip } from "./upload_site.ts";

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
    ["unreachable", [2, 4, 8]], // the whole look waits
    ["no-space", [2, 3, 5]], // one zip rests for 1, 2 and 4 looks
    ["verification-failed", [2, 3, 5]],
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
    onReceipt: () => abort.abort(),
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
    onReceipt: () => abort.abort(),
  });

  assertEquals([sent, problems], [1, ["ledger"]]);
});

embeddedTest("watchImages() counts what was sent in a look that failed later", async () => {
  await using place = await site("counted", 3);
  const { ledger, dir, share } = place;
  const abort = new AbortController();
  let [puts, received] = [0, 0];
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
    onReceipt: () => ++received === 3 && abort.abort(),
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
      onReceipt: () => abort.abort(),
    });

    assertEquals(finished.slice(0, 7), [0, 0, 0, 0, 0, 0, 1]); // it looks on while it sends
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
    onReceipt: () => abort.abort(),
  });
  await until("it was told of", () => problems.length > 0);
  await writeZip(`${dir}/images/${whole}.zip`); // two more looks, at least
  await watching;

  assertEquals(problems, [`${slug}/${half}.zip`]);
});

embeddedTest(
  "watchImages() sends what is finished while a large zip is on its way, and tells its caller of both",
  async () => {
    await using place = await site("looks-on", 2);
    const { ledger, dir, slug, share, pseudonyms: [large = "", late = ""] } = place;
    await Deno.remove(`${dir}/images/${late}.zip`);
    const abort = new AbortController();
    const { promise: lateIsThere, resolve } = Promise.withResolvers<void>();
    const slow = sharing(share, async (path) => {
      if (!path.includes(large)) return;
      await writeZip(`${dir}/images/${late}.zip`);
      await deadline(lateIsThere, 5_000);
    });
    const received: string[] = [];

    const { sent, verified } = await watchImages(ledger, [`${dir}/images`], slow, {
      signal: abort.signal,
      projectSlug: slug,
      intervalMs: 10,
      concurrency: 2,
      onReceipt({ path }) {
        received.push(path.split("/").at(-1) ?? "");
        resolve();
        if (received.length === 2) abort.abort();
      },
    });

    assertEquals([received, sent, verified], [[`${late}.zip`, `${large}.zip`], 2, 2]);
  },
);

embeddedTest("watchImages() tries again what failed while another zip is on its way", async () => {
  await using place = await site("rests", 2);
  const { ledger, dir, slug, share, pseudonyms: [large = "", refused = ""] } = place;
  const abort = new AbortController();
  const { promise: enough, resolve } = Promise.withResolvers<void>();
  let tried = 0;
  const picky = sharing(share, async (path) => {
    if (path.includes(large)) await deadline(enough, 5_000);
    else if (++tried < 3) throw new UploadError("verification-failed", "Cannot upload: no");
  });
  const received: string[] = [];

  await watchImages(ledger, [`${dir}/images`], picky, {
    signal: abort.signal,
    projectSlug: slug,
    intervalMs: 10,
    concurrency: 2,
    onReceipt({ path }) {
      received.push(path.split("/").at(-1) ?? "");
      resolve();
      if (received.length === 2) abort.abort();
    },
  });

  assertEquals([received, tried], [[`${refused}.zip`, `${large}.zip`], 3]);
});

embeddedTest("watchImages() sends again a zip whose study was set back", async () => {
  await using place = await site("set-back", 1);
  const { ledger, dir, slug, share, pseudonyms: [pseudonym = ""] } = place;
  const abort = new AbortController();
  let received = 0;
  const [image] = await ledger.imagesOf([pseudonym]);
  const watching = watchImages(ledger, [`${dir}/images`], share, {
    signal: abort.signal,
    projectSlug: slug,
    intervalMs: 10,
    onReceipt: () => ++received === 2 && abort.abort(),
  });
  const isExported = async () => (await ledger.imagesOf([pseudonym]))[0]?.state === "exported";
  await until("it was sent", isExported);
  await share.remove(`${slug}/${pseudonym}.zip`);
  await ledger.unexport(image?.imageId ?? 0, "done");

  assertEquals((await watching).sent, 2);
});

embeddedTest("watchImages() waits for a database that does not answer while a zip is on its way", async () => {
  await using place = await site("hangs", 1);
  const { ledger, dir, slug, share } = place;
  const abort = new AbortController();
  let hangs = true;
  const hanging = new Proxy(ledger, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      const isHanging = hangs && ["renewUpload", "notePart", "releaseUpload"].includes(String(name));
      if (!isHanging) return typeof value === "function" ? value.bind(target) : value;
      return (...args: unknown[]) => {
        const { signal } = args.at(-1) as { signal: AbortSignal };
        return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      };
    },
  });
  const slow = new Proxy(share, {
    get: (target, name) =>
      name === "put"
        ? async (source: string, path: string, options: PutOptions) => {
          options.onPart?.({ name: "", source: "", bytes: 0, sha256: "" });
          if (hangs) await delay(10_000, options.signal && { signal: options.signal });
          return await target.put(source, path, options);
        }
        : Reflect.get(target, name, target),
  });
  const problems: string[] = [];

  const { sent } = await watchImages(hanging, [`${dir}/images`], slow, {
    signal: abort.signal,
    projectSlug: slug,
    intervalMs: 10,
    leaseMs: 100,
    onProblem({ path }) {
      problems.push(path);
      hangs = false;
    },
    onReceipt: () => abort.abort(),
  });

  assertEquals([sent, problems], [1, ["ledger"]]);
});

embeddedTest("watchImages() tries all of a project in the end whose first and last zips are always cut", async () => {
  await using place = await site("middle", 12);
  const { ledger, dir, slug, share, pseudonyms } = place;
  const isGood = (path: string) => pseudonyms.slice(7, 10).some((each) => path.includes(each));
  const abort = new AbortController();
  const gateway = sharing(share, async (path) => {
    if (!isGood(path)) await fails("interrupted");
  });
  let received = 0;

  const { sent } = await watchImages(ledger, [`${dir}/images`], gateway, {
    signal: AbortSignal.any([abort.signal, AbortSignal.timeout(10_000)]),
    projectSlug: slug,
    intervalMs: 10,
    onReceipt: () => ++received === 3 && abort.abort(),
  });

  assertEquals(sent, 3);
});

embeddedTest("watchImages() waits where the destination hangs up for a moment before TLS has begun", async () => {
  await using place = await site("hangs-up", 1);
  const { ledger, dir, slug, share } = place;
  const abort = new AbortController();
  let tried = 0;
  const passing = () => Promise.reject(new UploadError("protocol", "Cannot connect", { retryable: true }));
  const full = new Proxy(share, {
    get(target, name) {
      if (name === "stat") return passing;
      if (name !== "put") return Reflect.get(target, name, target);
      return (source: string, path: string, options: PutOptions) =>
        ++tried < 3 ? passing() : target.put(source, path, options);
    },
  });

  const { sent } = await watchImages(ledger, [`${dir}/images`], full, {
    signal: abort.signal,
    projectSlug: slug,
    intervalMs: 10,
    onReceipt: () => abort.abort(),
  });

  assertEquals([sent, tried], [1, 3]);
});

embeddedTest("watchImages() tells of a second outage too", async () => {
  await using place = await site("outages", 2);
  const { ledger, dir, slug, share } = place;
  const abort = new AbortController();
  const isDown = [true, false, true, false];
  const problems: string[] = [];
  const down = new Proxy(share, {
    get: (target, name) =>
      name === "put"
        ? (source: string, path: string, options: PutOptions) =>
          isDown.shift()
            ? Promise.reject(new UploadError("unreachable", "Cannot connect"))
            : target.put(source, path, options)
        : Reflect.get(target, name, target),
  });
  let received = 0;

  await watchImages(ledger, [`${dir}/images`], down, {
    signal: abort.signal,
    projectSlug: slug,
    intervalMs: 10,
    onProblem: ({ path }) => problems.push(path),
    onReceipt: () => ++received === 2 && abort.abort(),
  });

  assertEquals(problems, [share.name, share.name]);
});

embeddedTest("watchImages() looks less and less often at a destination that has space for nothing", async () => {
  await using place = await site("full", 30);
  const { ledger, dir, slug, share } = place;
  const abort = new AbortController();
  const times: number[] = [];
  const full = refusing(share, "no-space", () => times.push(performance.now()));
  setTimeout(() => abort.abort(), 1_500);

  await watchImages(ledger, [`${dir}/images`], full, { signal: abort.signal, projectSlug: slug, intervalMs: 20 });

  const looks = times.filter((time, at) => time - (times[at - 1] ?? 0) > 15);
  assertGreater(8, looks.length); // it would be some 50 without pauses
  assertGreater(times.length, 12); // and others are tried each time
});

embeddedTest("watchImages() ends with what its caller's functions throw, though it be as of an outage", async () => {
  for (const which of ["onReceipt", "onFile", "onProgress"] as const) {
    await using place = await site("own", 1);
    const { ledger, dir, slug, share } = place;
    const own = new UploadError("unreachable", "Cannot pass it on");
    const signal = AbortSignal.timeout(5_000);

    const thrown = await assertRejects(() =>
      watchImages(ledger, [`${dir}/images`], share, {
        signal,
        projectSlug: slug,
        intervalMs: 10,
        [which]() {
          throw own;
        },
      })
    );

    assertEquals(thrown === own, true);
  }
});

embeddedTest("watchImages() is not slowed down by a project of which nothing gets through", async () => {
  await using stuck = await site("stuck", 30);
  await using other = await site("free", 1);
  const late = `${other.dir}/images/${other.pseudonyms[0]}.zip`;
  await Deno.remove(late);
  const abort = new AbortController();
  let tried = 0;
  const gateway = sharing(stuck.share, async (path) => {
    if (path.startsWith(stuck.slug) && ++tried) await fails("interrupted");
  });
  let [written, took] = [Infinity, Infinity];
  const writing = (async () => {
    await until("the other project's zips were tried some times", () => tried > 40);
    await writeZip(late);
    written = performance.now();
  })();

  await watchImages(stuck.ledger, [`${stuck.dir}/images`, `${other.dir}/images`], gateway, {
    signal: AbortSignal.any([abort.signal, AbortSignal.timeout(20_000)]),
    intervalMs: 50,
    onReceipt() {
      took = performance.now() - written;
      abort.abort();
    },
  });

  await writing;
  assertGreater(1_000, took); // two looks, and what they take; else up to 64 of 50 ms each
});

embeddedTest("watchImages() tells of a folder that is gone a second time too", async () => {
  await using place = await site("gone-again", 1);
  const { ledger, dir, slug, share } = place;
  const abort = new AbortController();
  const problems: string[] = [];
  const watching = watchImages(ledger, [`${dir}/shared`], share, {
    signal: abort.signal,
    projectSlug: slug,
    intervalMs: 5,
    onProblem: ({ path }) => problems.push(path),
  });
  await until("it was told of", () => problems.length === 1);
  await Deno.mkdir(`${dir}/shared`);
  await delay(200);
  await Deno.remove(`${dir}/shared`);
  await until("it was told of again", () => problems.length === 2);
  abort.abort();

  await watching;
  assertEquals(problems, [`${dir}/shared`, `${dir}/shared`]);
});
