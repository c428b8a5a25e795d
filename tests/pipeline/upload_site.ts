import { assert } from "@std/assert";
import { type Database, Ledger, migrate, openDatabase } from "../../src/database/mod.ts";
import { encodeManifest } from "../../src/exports/manifest.ts";
import { ParquetExport } from "../../src/exports/mod.ts";
import { DirectoryDestination } from "../../src/upload/mod.ts";
import { newEmbedded } from "../support/embedded.ts";
import { randomBytes } from "../upload/workbench.ts";

const TIME = "2023-12-07T14:08:58";

let opening: Promise<Database> | undefined;
const dataDir = await Deno.makeTempDir({ prefix: "pixl-upload-ledger-" });

/** The database of all tests of a file. */
export function sharedDatabase(): Promise<Database> {
  return opening ??= (async () => {
    const database = await openDatabase({ kind: "embedded", dir: await newEmbedded(dataDir) });
    await migrate(database);
    return database;
  })();
}

Deno.test.afterAll(async () => {
  await (await opening)?.[Symbol.asyncDispose]();
  await Deno.remove(dataDir, { recursive: true });
});

/** What an upload needs; all of it goes at the end. */
export interface UploadSite extends AsyncDisposable {
  readonly ledger: Ledger;
  /** Holds the folders images, exports and share. */
  readonly dir: string;
  /** The project's. */
  readonly slug: string;
  readonly pseudonyms: readonly string[];
  readonly parquetExport: ParquetExport;
  readonly share: DirectoryDestination;
}

/** A project with studies that are done, their zips, a share, and an export of two files without a manifest. */
export async function site(project: string, studies: number, zipBytes = 1_000): Promise<UploadSite> {
  const ledger = new Ledger(await sharedDatabase());
  const dir = await Deno.makeTempDir({ prefix: "pixl-pipeline-" });
  const slug = `${project}-${crypto.randomUUID().slice(0, 8)}`;
  const extract = { project_name: slug, project_slug: slug, extract_time: TIME, time_slug: "2023-12-07t14-08-58" };
  const { extractId } = await ledger.registerExtract(extract);
  const all = Array.from({ length: studies }, (_, n) => ({
    mrn: `MRNSEED${n}`,
    accession_number: `ACCSEED${n}`,
    study_date: "2020-02-29",
    procedure_occurrence_id: n,
    project_name: slug,
    extract_generated_timestamp: TIME,
  }));
  await ledger.registerStudies(extractId, all);
  const pseudonyms: string[] = [];
  for (const folder of ["images", "share", "exports"]) await Deno.mkdir(`${dir}/${folder}`);
  for (const study of all) {
    const claim = await ledger.claim("image", study, { owner: "x", leaseMs: 60_000 });
    assert(claim.result === "claimed");
    const pseudonym = `2.25.${claim.id}`;
    await ledger.recordPseudonym(claim.id, "x", pseudonym);
    await ledger.complete("image", claim.id, "x");
    await writeZip(`${dir}/images/${pseudonym}.zip`, zipBytes);
    pseudonyms.push(pseudonym);
  }
  const parquetExport = new ParquetExport(slug, TIME, `${dir}/exports`);
  for (const path of ["omop/public/A.parquet", "radiology/radiology.parquet"]) {
    await Deno.mkdir(`${parquetExport.dir}/${path.split("/").slice(0, -1).join("/")}`, { recursive: true });
    await Deno.writeFile(`${parquetExport.dir}/${path}`, randomBytes(500));
  }
  return {
    ledger,
    dir,
    slug,
    pseudonyms,
    parquetExport,
    share: await DirectoryDestination.open(`${dir}/share`),
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
}

/** As `pixl export` does, of the files that are there. */
export async function writeManifest(parquetExport: ParquetExport): Promise<string> {
  await Deno.remove(`${parquetExport.dir}/manifest.json`).catch(() => {}); // or only what it names would be listed
  const files = await parquetExport.files({ hash: true });
  const text = encodeManifest({
    ...{ version: 1, project: parquetExport.projectSlug, extract: parquetExport.timeSlug },
    time: "2023-12-07T14:08:58",
    files: files.map(({ path, bytes, sha256 = "" }) => ({ path, bytes, sha256, rows: null, schema: null })),
  });
  await Deno.writeTextFile(`${parquetExport.dir}/manifest.json`, text);
  return text;
}

/** A file that ends as the least zip does: nothing in it. */
export async function writeZip(path: string, bytes = 1_000): Promise<void> {
  const content = randomBytes(bytes);
  content.set([0x50, 0x4b, 0x05, 0x06, ...new Uint8Array(18)], bytes - 22);
  await Deno.writeFile(path, content);
}
