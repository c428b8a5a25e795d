import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { listFiles } from "../../src/demo/files.ts";
import { ParquetExport } from "../../src/exports/mod.ts";
import { uploadParquet } from "../../src/pipeline/upload_parquet.ts";
import { type Destination, type PutOptions, UploadError } from "../../src/upload/mod.ts";
import { embeddedTest } from "../support/databases.ts";
import { randomBytes } from "../upload/workbench.ts";
import { site, type UploadSite, writeManifest } from "./upload_site.ts";

embeddedTest("uploadParquet() sends the other exports where one project's latest is no link", async () => {
  await using place = await site("latest", 0);
  const { ledger, dir, slug, parquetExport, share } = place;
  await writeManifest(parquetExport);
  await Deno.symlink("all_extracts/2023-12-07t14-08-58", `${dir}/exports/${slug}/latest`);
  await Deno.mkdir(`${dir}/exports/a-broken-one/latest`, { recursive: true });
  await Deno.mkdir(`${dir}/exports/not-exported-yet`);

  const { sent, failed } = await uploadParquet(ledger, `${dir}/exports`, share);

  assertEquals([sent, failed.map(({ path }) => path)], [3, ["a-broken-one"]]);
  assertStringIncludes(failed[0]?.reason ?? "", "must be a symbolic link");
});

/** Two projects whose exports lie beside each other. */
async function twoExports(place: UploadSite, other: UploadSite): Promise<string> {
  await Deno.writeFile(`${other.parquetExport.dir}/omop/public/B.parquet`, randomBytes(500));
  for (const { dir, slug, parquetExport } of [place, other]) {
    await writeManifest(parquetExport);
    await Deno.symlink("all_extracts/2023-12-07t14-08-58", `${dir}/exports/${slug}/latest`);
  }
  await Deno.rename(`${other.dir}/exports/${other.slug}`, `${place.dir}/exports/${other.slug}`);
  return `${place.dir}/exports`;
}

/** A share that ends a run where that is put. */
function endingAt(share: Destination, isLast: (path: string) => boolean): Destination {
  return new Proxy(share, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      if (name !== "put") return typeof value === "function" ? value.bind(target) : value;
      return (source: string, path: string, options: PutOptions) =>
        isLast(path)
          ? Promise.reject(new UploadError("login-refused", "Cannot upload: no"))
          : target.put(source, path, options);
    },
  });
}

embeddedTest(
  "uploadParquet() sends a manifest as soon as its export is whole, whatever becomes of another's",
  async () => {
    await using small = await site("a-small", 0);
    await using large = await site("b-large", 0);
    const exportDir = await twoExports(small, large);
    const ending = endingAt(small.share, (path) => path.startsWith(large.slug) && path.includes("/radiology/"));

    await assertRejects(() => uploadParquet(small.ledger, exportDir, ending), UploadError);

    const there = await listFiles(`${small.dir}/share`);
    assertEquals(there.filter((path) => path.endsWith("manifest.json")), [
      `${small.slug}/2023-12-07t14-08-58/parquet/manifest.json`,
    ]);
  },
);

embeddedTest("uploadParquet() takes no manifest away before the first file of its export goes", async () => {
  await using first = await site("a-first", 0);
  await using second = await site("b-second", 0);
  const exportDir = await twoExports(first, second);
  const { ledger, share } = first;
  const progress: (readonly number[])[] = [];
  await uploadParquet(ledger, exportDir, share, { onProgress: ({ files }) => progress.push(files) });
  assertEquals(progress.at(-1), [7, 7]); // five files and two manifests
  for (const { slug } of [first, second]) {
    const parquetExport = new ParquetExport(slug, "2023-12-07T14:08:58", exportDir);
    await Deno.writeFile(`${parquetExport.dir}/omop/public/A.parquet`, randomBytes(600));
    await writeManifest(parquetExport);
  }

  const ending = endingAt(share, () => true);
  await assertRejects(() => uploadParquet(ledger, exportDir, ending, { replace: true }), UploadError);

  const there = await listFiles(`${first.dir}/share`);
  assertEquals(there.filter((path) => path.endsWith("manifest.json")), [
    `${second.slug}/2023-12-07t14-08-58/parquet/manifest.json`,
  ]);
});
