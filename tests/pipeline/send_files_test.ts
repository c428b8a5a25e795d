import { assert, assertEquals, assertRejects } from "@std/assert";
import { deadline, delay } from "@std/async";
import type { FileToSend, UploadPlan } from "../../src/pipeline/file_to_send.ts";
import { LeaseLostError } from "../../src/database/mod.ts";
import { sendFiles } from "../../src/pipeline/send_files.ts";
import { type Destination, partNameOf, UploadError } from "../../src/upload/mod.ts";
import { embeddedTest } from "../support/databases.ts";
import { fails, filesOf, sharing } from "./sharing.ts";
import { site } from "./upload_site.ts";

embeddedTest(
  "sendFiles() leaves room for a project of small files while another's large ones are on their way",
  async () => {
    await using place = await site("fair", 1);
    const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
    const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { large: 4, small: 10 });
    const { promise: smallAreThere, resolve } = Promise.withResolvers<void>();
    let small = 0;
    const destination = sharing(share, async (path) => {
      if (path.includes("-large/")) await deadline(smallAreThere, 5_000).catch(() => {});
      else if (++small === 10) resolve();
    });

    await sendFiles(ledger, destination, { files, failed: [] }, {
      concurrency: 4,
      onReceipt: ({ path }) => assert(small === 10 || !path.includes("-large/"), "a large one held up the small ones"),
    });
  },
);

embeddedTest("sendFiles() sends the others where one file always loses the connection, and says which", async () => {
  await using place = await site("gateway", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 5 });
  const bad = files[1]?.path ?? "";
  const tried: string[] = [];
  const destination = sharing(share, (path) => {
    tried.push(path);
    return path === bad ? fails("interrupted") : Promise.resolve();
  });

  const { sent, failed } = await sendFiles(ledger, destination, { files, failed: [] });

  assertEquals([sent, failed.map(({ path }) => path)], [4, [bad]]);
  assertEquals([tried.filter((path) => path === bad).length, tried.at(-1)], [2, bad]);
});

embeddedTest(
  "sendFiles() sends the others where several files in a row lose the connection, on several connections",
  async () => {
    await using place = await site("gateways", 1);
    const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
    const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 9 });
    const bad = new Set(files.slice(0, 4).map(({ path }) => path));
    const { promise: badAreThrough, resolve } = Promise.withResolvers<void>();
    let tried = 0;
    const destination = sharing(share, async (path) => {
      if (!bad.has(path)) return await deadline(badAreThrough, 5_000);
      if (++tried === 4) resolve();
      await fails("timeout");
    });

    const { sent, failed } = await sendFiles(ledger, destination, { files, failed: [] }, { concurrency: 3 });

    assertEquals([sent, new Set(failed.map(({ path }) => path)), tried], [5, bad, 8]);
  },
);

embeddedTest("sendFiles() blames the only file if the destination is there", async () => {
  await using place = await site("alone", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 1 });

  const { failed } = await sendFiles(ledger, sharing(share, () => fails("interrupted")), { files, failed: [] });

  assertEquals(failed.map(({ path }) => path), files.map(({ path }) => path));
});

embeddedTest("sendFiles() ends where no file gets through, though the destination answers", async () => {
  await using place = await site("firewall", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 20 });
  let tried = 0;
  const destination = sharing(share, () => (tried++, fails("timeout")));

  await assertRejects(() => sendFiles(ledger, destination, { files, failed: [] }), UploadError);

  assertEquals(tried, 7);
});

embeddedTest("sendFiles() ends where a file loses the connection and nobody answers", async () => {
  await using place = await site("dead", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 5 });
  let tried = 0;
  const destination = new Proxy(sharing(share, () => (tried++, fails("timeout"))), {
    get: (target, name) => name === "stat" ? () => fails("unreachable") : Reflect.get(target, name, target),
  });

  const error = await assertRejects(() => sendFiles(ledger, destination, { files, failed: [] }), UploadError);

  assertEquals([error.code, tried], ["timeout", 1]);
});

embeddedTest("sendFiles() gives a project up none of whose files gets through, and tells of each of them", async () => {
  await using place = await site("half", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const source = `${dir}/images/${pseudonym}.zip`;
  const files = filesOf(source, crypto.randomUUID(), { there: 20, new: 20 });
  const isNew = (path: string) => path.includes("-new/");
  for (const { path } of files.filter(({ path }) => !isNew(path))) await share.put(source, path);
  let tried = 0;
  const destination = sharing(share, (path) => isNew(path) ? (tried++, fails("timeout")) : Promise.resolve());
  const told: string[] = [];

  const { verified, failed } = await sendFiles(ledger, destination, { files, failed: [] }, {
    onFailure: ({ path }) => told.push(path),
  });

  assertEquals([tried, verified], [7, 20]);
  assertEquals(failed.map(({ path }) => path), told);
  assertEquals(told.sort(), files.map(({ path }) => path).filter(isNew).sort());
});

embeddedTest("sendFiles() gives up one project after another where none of any gets through", async () => {
  await using place = await site("all-cut", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 20, two: 20, three: 20 });
  let tried = 0;
  const destination = sharing(share, () => (tried++, fails("timeout")));

  const error = await assertRejects(() => sendFiles(ledger, destination, { files, failed: [] }), UploadError);

  assertEquals([error.code, tried], ["timeout", 3 * 7]); // of each a row, and one from its end
});

embeddedTest(
  "sendFiles() does not cut off a file that is on its way where all of another project are cut",
  async () => {
    await using place = await site("beside-cut", 1);
    const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
    const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { cut: 20, large: 1 });
    const { promise: cutAreDone, resolve } = Promise.withResolvers<void>();
    let [tried, told] = [0, 0];
    const destination = sharing(share, async (path, { onProgress }) => {
      onProgress?.(1);
      if (path.includes("-large/")) await deadline(cutAreDone, 5_000);
      else await (tried++, fails("timeout"));
    });

    const { sent, failed } = await sendFiles(ledger, destination, { files, failed: [] }, {
      concurrency: 2,
      onFailure: () => ++told === 20 && resolve(),
    });

    assertEquals([sent, failed.length, tried], [1, 20, 8]);
  },
);

embeddedTest(
  "sendFiles() sends a project's new files, though they come after others that are there, where all of another are cut",
  async () => {
    await using place = await site("after-there", 1);
    const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
    const source = `${dir}/images/${pseudonym}.zip`;
    const files = filesOf(source, crypto.randomUUID(), { cut: 20, other: 20 });
    for (const { path } of files.slice(20, 30)) await share.put(source, path);
    const destination = sharing(share, (path) => path.includes("-cut/") ? fails("interrupted") : Promise.resolve());

    const { sent, verified, failed } = await sendFiles(ledger, destination, { files, failed: [] });

    assertEquals([sent, verified, failed.length], [10, 20, 20]);
  },
);

embeddedTest("sendFiles() tries again what lost the connection while a large file is on its way", async () => {
  await using place = await site("meanwhile", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { large: 1, small: 2 });
  const { promise: smallAreThere, resolve } = Promise.withResolvers<void>();
  let tried = 0;
  const destination = sharing(share, async (path) => {
    if (path.includes("-large/")) await deadline(smallAreThere, 5_000);
    else if (++tried === 1) await fails("interrupted");
  });

  let small = 0;
  const { sent } = await sendFiles(ledger, destination, { files, failed: [] }, {
    concurrency: 2,
    onReceipt: ({ path }) => path.includes("-small/") && ++small === 2 && resolve(),
  });

  assertEquals([sent, tried], [3, 3]);
});

embeddedTest("sendFiles() does not keep a file for which there was no room waiting for another uploader", async () => {
  await using place = await site("behind", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { held: 1, free: 2 });
  const held = files[0]?.path ?? "";
  const lease = { owner: "another", leaseMs: 60_000 };
  await ledger.claimUpload(share.name, held, partNameOf(held), lease);
  let releasing = Promise.resolve();
  let tried = 0;
  const crowded = sharing(share, async (path, { onProgress }) => {
    if (path === held) return;
    tried += 1;
    if (tried === 2) await noRoom();
    onProgress?.(1);
  });
  const sent: string[] = [];

  await sendFiles(ledger, withRoom(crowded, () => false), { files, failed: [] }, {
    noRoomMs: 10,
    onReceipt({ path }) {
      sent.push(path);
      if (sent.length === 2) releasing = ledger.releaseUpload(share.name, held, lease.owner);
    },
  });
  await releasing;

  assertEquals([sent.length, sent[2]?.endsWith(held)], [3, true]);
});

embeddedTest(
  "sendFiles() does not cut off a file that is compared for long where another connection is not answered",
  async () => {
    await using place = await site("compared", 1);
    const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
    const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 4 });
    let inUse = false;
    const narrow = sharing(share, async () => {
      if (inUse) await fails("unreachable");
      inUse = true;
      await delay(300); // nothing moves
      inUse = false;
    });

    const result = await sendFiles(ledger, narrow, { files, failed: [] }, { concurrency: 2, noRoomMs: 50 });

    assertEquals([result.sent, result.failed], [4, []]);
  },
);

for (const [name, value] of [["concurrency", 0], ["concurrency", NaN], ["noRoomMs", 0]] as const) {
  embeddedTest(`sendFiles() refuses ${name} ${value}`, async () => {
    await using place = await site("options", 1);
    const { ledger, share } = place;

    await assertRejects(() => sendFiles(ledger, share, { files: [], failed: [] }, { [name]: value }), RangeError, name);
  });
}

embeddedTest("sendFiles() ends with what a caller's onProgress throws, though it be an upload error", async () => {
  await using place = await site("progress", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 3 });
  const own = new UploadError("interrupted", "Cannot show it");
  let tried = 0;
  const destination = sharing(share, () => Promise.resolve(void tried++));

  const thrown = await assertRejects(() =>
    sendFiles(ledger, destination, { files, failed: [] }, {
      onProgress() {
        throw own;
      },
    })
  );

  assertEquals([thrown === own, tried], [true, 1]);
});

embeddedTest("sendFiles() tells of what could not be sent also where the destination is gone then", async () => {
  await using place = await site("told", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 3 });
  let tried = 0;
  const destination = sharing(share, () => fails(++tried === 1 ? "permission-denied" : "unreachable"));
  const told: string[] = [];
  const missing = { path: "one/missing.zip", reason: "it is not there" };

  await assertRejects(
    () => sendFiles(ledger, destination, { files, failed: [missing] }, { onFailure: ({ path }) => told.push(path) }),
    UploadError,
  );

  assertEquals(told, [missing.path, files[0]?.path ?? ""]);
});

embeddedTest("sendFiles() ends where each of a few files loses the connection and none is sent", async () => {
  await using place = await site("few", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 3 });
  let tried = 0;
  const destination = sharing(share, () => (tried++, fails("timeout")));

  await assertRejects(() => sendFiles(ledger, destination, { files, failed: [] }), UploadError);

  assertEquals(tried, 6);
});

embeddedTest("sendFiles() goes on after an outage that hit a file on each of 8 connections", async () => {
  await using place = await site("outage", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 10 });
  const { promise: allInHand, resolve } = Promise.withResolvers<void>();
  let tried = 0;
  const destination = sharing(share, async () => {
    if (++tried > 8) return;
    if (tried === 8) resolve();
    await allInHand;
    await fails("timeout");
  });

  const result = await sendFiles(ledger, destination, { files, failed: [] }, { concurrency: 8 });

  assertEquals([result.sent, result.failed], [10, []]);
});

/** Batches of files, and no more; each once it is asked for. */
function batches(...all: FileToSend[][]): { readonly arrivals: () => AsyncIterable<FileToSend[]> } {
  return {
    async *arrivals() {
      await Promise.resolve();
      yield* all;
    },
  };
}

embeddedTest("sendFiles() sends what arrives while others are on their way, and counts it", async () => {
  await using place = await site("arrives", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const source = `${dir}/images/${pseudonym}.zip`;
  const first = filesOf(source, crypto.randomUUID(), { one: 1 });
  const more = [filesOf(source, crypto.randomUUID(), { one: 2 }), filesOf(source, crypto.randomUUID(), { two: 2 })];
  const { promise: othersAreThere, resolve } = Promise.withResolvers<void>();
  const destination = sharing(share, async (path) => {
    if (path === first[0]?.path) await deadline(othersAreThere, 5_000);
  });
  let received = 0;
  let counts: readonly [number, number] = [0, 0];

  const { sent } = await sendFiles(ledger, destination, { files: first, failed: [], ...batches(...more) }, {
    concurrency: 2,
    onReceipt: () => ++received === 4 && resolve(),
    onProgress: ({ files }) => counts = files,
  });

  assertEquals([sent, counts], [5, [5, 5]]);
});

embeddedTest("sendFiles() ends with what makes the arrivals fail, and cuts off what is on its way", async () => {
  await using place = await site("no-arrivals", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 1 });
  const own = new Error("cannot look");
  const destination = sharing(share, (_path, { signal }) => delay(10_000, signal && { signal }));
  const plan: UploadPlan = {
    files,
    failed: [],
    // deno-lint-ignore require-yield
    async *arrivals() {
      await Promise.resolve();
      throw own;
    },
  };

  const thrown = await assertRejects(() => sendFiles(ledger, destination, plan, { concurrency: 3 }));

  assertEquals(thrown === own, true);
});

embeddedTest("sendFiles() can be aborted while connections wait for what arrives", async () => {
  await using place = await site("idle", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 1 });
  const abort = new AbortController();
  const own = new Error("enough");
  const destination = sharing(share, async (_path, { signal }) => {
    setTimeout(() => abort.abort(own), 20);
    await delay(10_000, signal && { signal });
  });
  const plan: UploadPlan = {
    files,
    failed: [],
    async *arrivals(signal) {
      await delay(10_000, { signal });
      yield [];
    },
  };

  const thrown = await assertRejects(() =>
    sendFiles(ledger, destination, plan, { concurrency: 3, signal: abort.signal })
  );

  assertEquals(thrown === own, true);
});

embeddedTest("sendFiles() tries a file that comes again once, also where another uploader has it", async () => {
  await using place = await site("once", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 3 })
    .map((file) => ({ ...file, comesAgain: true }));
  const [held, cut] = files.map(({ path }) => path);
  await ledger.claimUpload(share.name, held ?? "", partNameOf(held ?? ""), { owner: "another", leaseMs: 60_000 });
  const tried: string[] = [];
  const destination = sharing(share, (path) => {
    tried.push(path);
    return path === cut ? fails("interrupted") : Promise.resolve();
  });

  const { sent, failed } = await sendFiles(ledger, destination, { files, failed: [] });

  assertEquals([sent, failed.map(({ path }) => path), tried.length], [1, [held ?? "", cut ?? ""], 2]);
});

/** As a server says that it has too many connections. */
function noRoom(): Promise<never> {
  const cause = Object.assign(new Error("421 There are too many connections"), { code: 421 });
  return Promise.reject(new UploadError("interrupted", "Cannot connect", { cause }));
}

/** A destination that is asked whether it has room when a file is looked at. */
function withRoom(destination: Destination, hasRoom: () => boolean): Destination {
  return new Proxy(destination, {
    get: (target, name) =>
      name === "stat" ? () => hasRoom() ? Promise.resolve() : noRoom() : Reflect.get(target, name, target),
  });
}

embeddedTest("sendFiles() goes on where the destination has too many connections for a moment", async () => {
  await using place = await site("crowded", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 3 });
  let tried = 0;
  const crowded = sharing(share, () => ++tried === 1 ? noRoom() : Promise.resolve());
  const destination = withRoom(crowded, () => false);

  const result = await sendFiles(ledger, destination, { files, failed: [] });

  assertEquals([result.sent, result.failed], [3, []]);
});

embeddedTest("sendFiles() sends all over the one connection for which the destination has room", async () => {
  await using place = await site("narrow", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 20 });
  let inUse = false;
  const narrow = sharing(share, async (_path, { onProgress }) => {
    if (inUse) await noRoom();
    inUse = true;
    onProgress?.(1);
    await delay(50);
    inUse = false;
  });
  const destination = withRoom(narrow, () => !inUse);

  const result = await sendFiles(ledger, destination, { files, failed: [] }, { concurrency: 2, noRoomMs: 200 });

  assertEquals([result.sent, result.failed], [20, []]);
});

embeddedTest("sendFiles() leaves the one connection for which there is room to the projects in turn", async () => {
  await using place = await site("narrow-turns", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { large: 12, small: 6 });
  const sent: string[] = [];
  let inUse = false;
  const narrow = sharing(share, async (path, { onProgress }) => {
    if (inUse) await noRoom();
    inUse = true;
    onProgress?.(1);
    await delay(20);
    inUse = false;
    sent.push(path);
  });

  await sendFiles(ledger, withRoom(narrow, () => !inUse), { files, failed: [] }, { concurrency: 2, noRoomMs: 200 });

  assertEquals(sent.length, 18);
  const ofSmall = sent.slice(0, 8).filter((path) => path.includes("-small/"));
  assert(ofSmall.length >= 3, `after 8 files, ${ofSmall.length} of the small project were sent`);
});

for (const code of ["unreachable", "timeout"] as const) {
  embeddedTest(
    `sendFiles() goes on with one connection where the destination lets another run into ${code}`,
    async () => {
      await using place = await site("one-only", 1);
      const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
      const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 10 });
      let inUse = false;
      const narrow = sharing(share, async (_path, { onProgress }) => {
        if (inUse) await fails(code);
        inUse = true;
        onProgress?.(1);
        await delay(50);
        inUse = false;
      });
      const destination = new Proxy(narrow, {
        get: (target, name) =>
          name === "stat" ? () => inUse ? fails(code) : Promise.resolve() : Reflect.get(target, name, target),
      });

      const result = await sendFiles(ledger, destination, { files, failed: [] }, { concurrency: 2, noRoomMs: 200 });

      assertEquals([result.sent, result.failed], [10, []]);
    },
  );
}

embeddedTest("sendFiles() ends with what a caller's onReceipt throws, though it be an upload error", async () => {
  await using place = await site("receipts", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 3 });
  const own = new UploadError("interrupted", "Cannot pass it on");
  let tried = 0;
  const destination = sharing(share, () => Promise.resolve(void tried++));

  const thrown = await assertRejects(() =>
    sendFiles(ledger, destination, { files, failed: [] }, {
      onReceipt() {
        throw own;
      },
    })
  );

  assertEquals([thrown === own, tried], [true, 1]);
});

for (const says of ["that it is there", "that it has no room"]) {
  embeddedTest(
    `sendFiles() ends where the destination throws everyone out after all bytes, and then says ${says}`,
    async () => {
      await using place = await site("thrown-out", 1);
      const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
      const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 30 });
      let tried = 0;
      const thrown = sharing(share, async (_path, { onProgress }) => {
        tried++;
        onProgress?.(1_000);
        await delay(Math.random() * 20);
        await noRoom();
      });
      const destination = withRoom(thrown, () => says === "that it is there");

      await assertRejects(
        () =>
          deadline(sendFiles(ledger, destination, { files, failed: [] }, { concurrency: 2, noRoomMs: 200 }), 20_000),
        UploadError,
      );

      assert(tried <= 7 + 2 * 2, `${tried} were tried`);
    },
  );
}

embeddedTest("sendFiles() does not end for an answer that is lasting but of one file's name", async () => {
  await using place = await site("odd-name", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 4 });
  const bad = files[1]?.path ?? "";
  const cause = Object.assign(new Error("553 Not allowed"), { code: 553 });
  const refusal = () => Promise.reject(new UploadError("permission-denied", "Cannot look", { cause }));
  const odd = sharing(share, (path) => path === bad ? fails("interrupted") : Promise.resolve());
  const destination = new Proxy(odd, {
    get: (target, name) => name === "stat" ? refusal : Reflect.get(target, name, target),
  });

  const { sent, failed } = await sendFiles(ledger, destination, { files, failed: [] });

  assertEquals([sent, failed.map(({ path }) => path)], [3, [bad]]);
});

embeddedTest("sendFiles() does not cut off a file that is slow to begin where there is room for no other", async () => {
  await using place = await site("slow-start", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 10 });
  const [slow] = files;
  let inUse = false;
  const narrow = sharing(share, async (path, { onProgress }) => {
    if (inUse) await noRoom();
    inUse = true;
    if (path === slow?.path) await delay(1_000);
    onProgress?.(1);
    inUse = false;
  });
  const destination = withRoom(narrow, () => !inUse);

  const result = await sendFiles(ledger, destination, { files, failed: [] }, { concurrency: 2, noRoomMs: 200 });

  assertEquals([result.sent, result.failed], [10, []]);
});

embeddedTest("sendFiles() does not cut off a file where others are let in and thrown out beside it", async () => {
  await using place = await site("beside", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 10 });
  const [slow] = files;
  let inUse = false;
  const narrow = sharing(share, async (path, { onProgress }) => {
    onProgress?.(1);
    if (inUse) await noRoom();
    if (path !== slow?.path) return;
    inUse = true;
    await delay(1_000);
    inUse = false;
  });
  const destination = withRoom(narrow, () => !inUse);

  const result = await sendFiles(ledger, destination, { files, failed: [] }, { concurrency: 2, noRoomMs: 200 });

  assertEquals([result.sent, result.failed], [10, []]);
});

embeddedTest("sendFiles() blames no file where the destination has room for none any more", async () => {
  await using place = await site("closed", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 5 });
  let sent = 0;
  const closing = sharing(share, () => sent++ === 0 ? Promise.resolve() : noRoom());
  const destination = withRoom(closing, () => false);

  await assertRejects(() => sendFiles(ledger, destination, { files, failed: [] }), UploadError);
});

embeddedTest("sendFiles() does not cut off the last file where another finds no room beside it", async () => {
  await using place = await site("last", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 2 });
  const bad = files[0]?.path ?? "";
  let tried = 0;
  const narrow = sharing(share, async (path, { onProgress }) => {
    if (++tried <= 2) return await fails("interrupted");
    onProgress?.(1);
    await delay(path === bad ? 50 : 500);
    if (path === bad) await noRoom();
  });

  const { sent, failed } = await sendFiles(
    ledger,
    withRoom(narrow, () => tried <= 2),
    { files, failed: [] },
    { concurrency: 2, noRoomMs: 200 },
  );

  assertEquals([sent, failed.map(({ path }) => path)], [1, [bad]]);
});

embeddedTest("sendFiles() ends where a file loses the connection and the destination refuses us then", async () => {
  await using place = await site("locked-out", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 5 });
  let tried = 0;
  const cause = Object.assign(new Error("530 Login incorrect"), { code: 530 });
  const refusal = () => Promise.reject(new UploadError("login-refused", "Cannot connect", { cause }));
  const destination = new Proxy(sharing(share, () => (tried++, fails("interrupted"))), {
    get: (target, name) => name === "stat" ? refusal : Reflect.get(target, name, target),
  });

  await assertRejects(() => sendFiles(ledger, destination, { files, failed: [] }), UploadError);

  assertEquals(tried, 1);
});

embeddedTest("sendFiles() ends where the destination has room for no connection at all", async () => {
  await using place = await site("full", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 50 });
  let tried = 0;
  const full = sharing(share, async () => {
    tried += 1;
    await delay(Math.random() * 20);
    await noRoom();
  });
  const destination = withRoom(full, () => false);

  await assertRejects(() => sendFiles(ledger, destination, { files, failed: [] }, { concurrency: 8 }), UploadError);

  assert(tried <= 13 + 2 * 8, `${tried} were tried`); // a row, a probe on each connection, and what was in hand
});

embeddedTest("sendFiles() does not end for a few files that are cut last, after the others were sent", async () => {
  await using place = await site("tail", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 12 });
  const bad = files.slice(6).map(({ path }) => path);
  const destination = sharing(share, (path) => bad.includes(path) ? fails("interrupted") : Promise.resolve());

  const { sent, failed } = await sendFiles(ledger, destination, { files, failed: [] });

  assertEquals([sent, failed.map(({ path }) => path).sort()], [6, bad.sort()]);
});

embeddedTest("sendFiles() sends the newest where more than a row of files that are always cut come first", async () => {
  await using place = await site("gathered", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 15 });
  const bad = new Set(files.slice(0, 10).map(({ path }) => path));
  const destination = sharing(share, (path) => bad.has(path) ? fails("interrupted") : Promise.resolve());

  const { sent, failed } = await sendFiles(ledger, destination, { files, failed: [] });

  assertEquals([sent, new Set(failed.map(({ path }) => path))], [5, bad]);
});

embeddedTest("sendFiles() says which are cut where all others are there already", async () => {
  await using place = await site("rest", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const source = `${dir}/images/${pseudonym}.zip`;
  const files = filesOf(source, crypto.randomUUID(), { one: 5 });
  const bad = files.slice(0, 2).map(({ path }) => path);
  for (const { path } of files.slice(2)) await share.put(source, path);
  const destination = sharing(share, (path) => bad.includes(path) ? fails("interrupted") : Promise.resolve());

  const { verified, failed } = await sendFiles(ledger, destination, { files, failed: [] });

  assertEquals([verified, failed.map(({ path }) => path)], [3, bad]);
});

embeddedTest(
  "sendFiles() leaves a file that another uploader has taken over to that one, and blames nobody",
  async () => {
    await using place = await site("taken", 1);
    const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
    const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 8 });
    let [tried, looks] = [0, 0];
    const held = sharing(share, async () => {
      if (++tried <= 8) throw new LeaseLostError("upload", "a path", "us");
      await Promise.resolve();
    });
    const destination = new Proxy(held, {
      get: (target, name) =>
        name === "stat" ? () => (looks++, fails("interrupted")) : Reflect.get(target, name, target),
    });

    const result = await sendFiles(ledger, destination, { files, failed: [] });

    assertEquals([result.sent, result.failed, tried, looks], [8, [], 16, 0]);
  },
);

for (const code of ["unreachable", "login-refused", "untrusted-certificate"] as const) {
  embeddedTest(`sendFiles() ends at once at ${code}: no other file would do better`, async () => {
    await using place = await site("refused", 1);
    const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
    const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 3 });
    let tried = 0;
    const destination = sharing(share, () => (tried++, fails(code)));

    await assertRejects(() => sendFiles(ledger, destination, { files, failed: [] }), UploadError);

    assertEquals(tried, 1);
  });
}

for (const code of ["permission-denied", "source-changed", "verification-failed", "exists-different"] as const) {
  embeddedTest(`sendFiles() goes on with the next file after ${code}`, async () => {
    await using place = await site("one-file", 1);
    const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
    const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 3 });
    const destination = sharing(share, (path) => path === files[0]?.path ? fails(code) : Promise.resolve());

    const { sent, failed } = await sendFiles(ledger, destination, { files, failed: [] });

    assertEquals([sent, failed.map(({ path }) => path)], [2, [files[0]?.path]]);
  });
}

embeddedTest("sendFiles() sends the others where one file, or one project's folder, finds no space", async () => {
  await using place = await site("quota", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { full: 8, roomy: 12 });
  const large = files.at(-1)?.path ?? "";
  const destination = sharing(
    share,
    (path) => path.includes("-full/") || path === large ? fails("no-space") : Promise.resolve(),
  );

  const { sent, failed } = await sendFiles(ledger, destination, { files, failed: [] });

  assertEquals([sent, failed.length], [11, 9]);
});

embeddedTest("sendFiles() does not cut off a project's large files where another has no space left", async () => {
  await using place = await site("one-full", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { full: 40, roomy: 6 });
  let tried = 0;
  const destination = sharing(share, async (path) => {
    if (path.includes("-full/") && ++tried) await fails("no-space");
    await delay(300);
  });

  const { sent, failed } = await sendFiles(ledger, destination, { files, failed: [] }, { concurrency: 4 });

  assertEquals([sent, failed.length], [6, 40]);
  assert(tried <= 9 + 3, `${tried} were tried`); // a row, and what was in hand
});

embeddedTest("sendFiles() tells of what was missing from the start also where all others find no space", async () => {
  await using place = await site("missing-too", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 2 });
  const destination = sharing(share, () => fails("no-space"));
  const missing = { path: "one/missing.zip", reason: "it is not there" };

  const { sent, failed } = await sendFiles(ledger, destination, { files, failed: [missing] });

  assertEquals([sent, failed.map(({ path }) => path)], [0, [missing.path, ...files.map(({ path }) => path)]]);
});

embeddedTest("sendFiles() tries smaller files of a project after many that were too large", async () => {
  await using place = await site("too-large", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 40 })
    .map((file, at) => ({ ...file, bytes: at < 30 ? 5_000 : 1_000 }));
  const large = new Set(files.slice(0, 30).map(({ path }) => path));
  let tried = 0;
  const destination = sharing(share, async (path) => {
    if (large.has(path) && ++tried) await fails("no-space");
  });

  const { sent, failed } = await sendFiles(ledger, destination, { files, failed: [] });

  assertEquals([sent, failed.length, tried], [10, 30, 6]);
});

embeddedTest(
  "sendFiles() stops trying a project's large files also where small ones between them find space",
  async () => {
    await using place = await site("between", 1);
    const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
    const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 40 })
      .map((file, at) => ({ ...file, bytes: at % 2 === 0 ? 5_000 : 1_000 }));
    const large = new Set(files.filter(({ bytes }) => bytes === 5_000).map(({ path }) => path));
    let tried = 0;
    const destination = sharing(share, async (path) => {
      if (large.has(path) && ++tried) await fails("no-space");
    });

    const { sent, failed } = await sendFiles(ledger, destination, { files, failed: [] });

    assertEquals([sent, failed.length, tried], [20, 20, 6]);
  },
);

embeddedTest("sendFiles() counts what is there already where there is no space for more", async () => {
  await using place = await site("there-full", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const source = `${dir}/images/${pseudonym}.zip`;
  const files = filesOf(source, crypto.randomUUID(), { one: 12 });
  const there = new Set(files.slice(8).map(({ path }) => path));
  for (const path of there) await share.put(source, path);
  const destination = sharing(share, (path) => there.has(path) ? Promise.resolve() : fails("no-space"));

  const { verified, failed } = await sendFiles(ledger, destination, { files, failed: [] });

  assertEquals([verified, failed.length], [4, 8]);
});

embeddedTest("sendFiles() ends at once where the destination is gone though a file was sent just now", async () => {
  await using place = await site("gone-now", 1);
  const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
  const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: 3 });
  let tried = 0;
  const destination = sharing(share, () => ++tried === 1 ? Promise.resolve() : fails("unreachable"));

  await assertRejects(() => sendFiles(ledger, destination, { files, failed: [] }), UploadError);

  assertEquals(tried, 2);
});

for (const count of [1, 12]) {
  embeddedTest(
    `sendFiles() ends where there is no space for ${count === 1 ? "the only file" : "any file"}`,
    async () => {
      await using place = await site("no-space", 1);
      const { ledger, dir, share, pseudonyms: [pseudonym] } = place;
      const files = filesOf(`${dir}/images/${pseudonym}.zip`, crypto.randomUUID(), { one: count });
      let tried = 0;
      const destination = sharing(share, () => (tried++, fails("no-space")));

      const error = await assertRejects(() => sendFiles(ledger, destination, { files, failed: [] }), UploadError);

      assertEquals([error.code, tried], ["no-space", Math.min(count, 6)]); // the rest is not tried
    },
  );
}
