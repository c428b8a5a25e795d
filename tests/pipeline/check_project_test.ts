import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { checkProject } from "../../src/pipeline/check_project.ts";
import { Uploader } from "../../src/pipeline/uploader.ts";
import { DirectoryDestination, UploadError } from "../../src/upload/mod.ts";
import { embeddedTest } from "../support/databases.ts";
import { randomBytes } from "../upload/workbench.ts";
import { site, writeZip } from "./upload_site.ts";

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

for (
  const [what, imageDir, message] of [
    ["is a file", (zip: string) => zip, "Cannot look into"],
    ["is not there, or not mounted", (zip: string) => `${zip}-gone`, "there is no folder"],
  ] as const
) {
  embeddedTest(`checkProject() sets nothing back where the folder of images ${what}`, async () => {
    await using place = await site("unreadable", 1);
    const { ledger, dir, slug, pseudonyms: [pseudonym = ""], share } = place;
    const zip = `${dir}/images/${pseudonym}.zip`;
    await new Uploader(ledger, share).uploadImage(zip, pseudonym, slug);
    await share.remove(`${slug}/${pseudonym}.zip`);
    const options = { exportDir: `${dir}/no-exports`, imageDir: imageDir(zip), repair: true };

    await assertRejects(() => checkProject(ledger, share, slug, options), UploadError, message);

    assertEquals((await ledger.imagesOf([pseudonym])).map(({ state }) => state), ["exported"]);
  });
}

embeddedTest("checkProject() sets nothing back where it cannot tell whether a zip is here", async () => {
  await using place = await site("too-long", 1);
  const { ledger, dir, slug, pseudonyms: [pseudonym = ""], share } = place;
  await new Uploader(ledger, share).uploadImage(`${dir}/images/${pseudonym}.zip`, pseudonym, slug);
  await share.remove(`${slug}/${pseudonym}.zip`);
  // Root may read whatever is denied to others; a link to itself cannot be followed by anybody.
  await Deno.remove(`${dir}/images/${pseudonym}.zip`);
  await Deno.symlink(`${dir}/images/${pseudonym}.zip`, `${dir}/images/${pseudonym}.zip`);
  const options = { exportDir: `${dir}/no-exports`, imageDir: `${dir}/images`, repair: true };

  await assertRejects(() => checkProject(ledger, share, slug, options), UploadError, "Cannot look at");

  assertEquals((await ledger.imagesOf([pseudonym])).map(({ state }) => state), ["exported"]);
});

embeddedTest("checkProject() asks for a study again whose zip here was cut short", async () => {
  await using place = await site("cut-short", 1);
  const { ledger, dir, slug, pseudonyms: [pseudonym = ""], share } = place;
  const zip = `${dir}/images/${pseudonym}.zip`;
  await new Uploader(ledger, share).uploadImage(zip, pseudonym, slug);
  await share.remove(`${slug}/${pseudonym}.zip`);
  await Deno.truncate(zip, 500);

  await checkProject(ledger, share, slug, { exportDir: `${dir}/no-exports`, imageDir: `${dir}/images`, repair: true });

  assertEquals((await ledger.imagesOf([pseudonym])).map(({ state }) => state), ["queued"]);
});

embeddedTest("checkProject() sets nothing back where it cannot compare all", async () => {
  await using place = await site("halfway", 2);
  const { ledger, dir, slug, pseudonyms, share } = place;
  for (const each of pseudonyms) {
    await new Uploader(ledger, share).uploadImage(`${dir}/images/${each}.zip`, each, slug);
    await share.remove(`${slug}/${each}.zip`);
  }
  let looks = 0;
  const breaking = new Proxy(share, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      if (name !== "stat") return typeof value === "function" ? value.bind(target) : value;
      return () => ++looks === 1 ? Promise.resolve() : Promise.reject(new UploadError("interrupted", "Cannot look"));
    },
  });
  const options = { exportDir: `${dir}/no-exports`, imageDir: `${dir}/images`, repair: true };

  await assertRejects(() => checkProject(ledger, breaking, slug, options), UploadError, "Cannot look");

  assertEquals((await ledger.imagesOf(pseudonyms)).map(({ state }) => state), ["exported", "exported"]);
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
