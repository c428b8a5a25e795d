import { join } from "node:path";
import * as v from "valibot";
import { normaliseTimestamp } from "../timestamp.ts";
import { diskProblem } from "./disk.ts";
import { ExportError } from "./errors.ts";
import { type ExportedFile, findEntries } from "./file_tree.ts";
import { hashFile } from "./hash_file.ts";
import { readExtract } from "./replace_extract.ts";

/** Its name in an extract's folder. */
export const MANIFEST_NAME = "manifest.json";

/** A column as a file's footer declares it. */
export interface ManifestColumn {
  /** Its name. */
  readonly name: string;
  /** Its converted type, else its physical type: `UTF8`, `INT64`, `DATE`, `DECIMAL(10,2)`; a list is `LIST`. */
  readonly type: string;
  /** Whether values may be missing. */
  readonly optional: boolean;
}

/** A file of an export. */
export interface ManifestFile extends ExportedFile {
  /** How many rows it has; null if it is no parquet file. */
  readonly rows: number | null;
  /** Its columns in their order; null if it is no parquet file. */
  readonly schema: readonly ManifestColumn[] | null;
}

/** What `manifest.json` says: which files make up an export. It is written last, so that it is there only where everything else is. */
export interface Manifest {
  /** Of this form. */
  readonly version: 1;
  /** The project's slug. */
  readonly project: string;
  /** The extract's folder name. */
  readonly extract: string;
  /** When the extract was made, in ISO 8601. */
  readonly time: string;
  /** Every file but the manifest, in the order of the paths. */
  readonly files: readonly ManifestFile[];
}

/** A file that is not as the manifest says. */
export interface ManifestProblem {
  /** As in {@linkcode ExportedFile}. */
  readonly path: string;
  /** It is not there, has other content, or is not in the manifest. */
  readonly problem: "missing" | "changed" | "unexpected";
}

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** Below the manifest's folder: it may have been edited, and is joined to a path. */
const path = v.pipe(v.string(), v.check(staysBelow));
const schema = v.object({
  version: v.literal(1),
  project: v.string(),
  extract: v.string(),
  time: v.pipe(v.string(), v.transform(normaliseTimestamp), v.string()),
  files: v.array(v.object({
    path,
    bytes: count,
    sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
    rows: v.nullable(count),
    schema: v.nullable(v.array(v.object({ name: v.string(), type: v.string(), optional: v.boolean() }))),
  })),
});

function staysBelow(path: string): boolean {
  // Elsewhere a file's name may hold a backslash.
  const segments = path.split(Deno.build.os === "windows" ? /[\\/]/ : "/");
  return !path.includes("\0") && segments.every((segment) => !["", ".", ".."].includes(segment));
}

/**
 * Writes a manifest as text, always the same for the same export.
 *
 * @param manifest What it says.
 * @returns JSON with one file a line.
 */
export function encodeManifest({ version, project, extract, time, files }: Manifest): string {
  const sorted = files.toSorted((a, b) => a.path < b.path ? -1 : 1);
  const lines = sorted.map(({ path, bytes, sha256, rows, schema }) =>
    `    ${JSON.stringify({ path, bytes, sha256, rows, schema })}`
  );
  const head = Object.entries({ version, project, extract, time }).map(([key, value]) =>
    `  "${key}": ${JSON.stringify(value)},\n`
  );
  return `{\n${head.join("")}  "files": [\n${lines.join(",\n")}\n  ]\n}\n`;
}

/**
 * Reads the manifest of an export.
 *
 * @param dir The extract's folder, or the project's `latest`.
 * @returns What it says. Paths are relative and stay below the folder.
 * @throws {ExportError} `not-exported` if there is none, `manifest-invalid` if it is not one.
 */
export async function readManifest(dir: string): Promise<Manifest> {
  return (await loadManifest(dir)).manifest;
}

/** As {@linkcode readManifest}, with the bytes that it was read from. */
export async function loadManifest(dir: string): Promise<{ manifest: Manifest; content: Uint8Array<ArrayBuffer> }> {
  const file = join(dir, MANIFEST_NAME);
  let content: Uint8Array<ArrayBuffer>;
  try {
    content = await Deno.readFile(file);
  } catch (cause) {
    if (diskProblem(cause)?.reason === "refused") {
      throw new ExportError("export-dir-refused", `Cannot read '${file}': give this user, and Deno, read access`, {
        cause,
      });
    }
    if (!(cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory)) throw cause;
    throw new ExportError("not-exported", `Cannot find '${file}': run 'pixl export' first`, { cause });
  }
  try {
    return { manifest: v.parse(schema, JSON.parse(new TextDecoder().decode(content))), content };
  } catch (cause) {
    const message = `Cannot use '${file}': it was damaged or edited, export again with --replace`;
    throw new ExportError("manifest-invalid", message, { cause });
  }
}

/**
 * Compares an export with its manifest: reads and hashes every file; all of them again if another export replaces it meanwhile.
 *
 * @param dir The extract's folder, or the project's `latest`.
 * @param options How to stop, and who is told after each file.
 * @returns The manifest, and every file that is not as it says.
 * @throws {ExportError} As {@linkcode readManifest}.
 */
export async function verifyExport(
  dir: string,
  options: { readonly signal?: AbortSignal; readonly onFile?: (path: string) => void } = {},
): Promise<{ manifest: Manifest; problems: ManifestProblem[] }> {
  return await readExtract(dir, async (folder) => {
    const manifest = await readManifest(folder);
    const present = new Map((await findEntries(folder, options)).map((entry) => [entry.path, entry]));
    present.delete(MANIFEST_NAME);
    const problems: ManifestProblem[] = [];
    for (const { path, bytes, sha256 } of manifest.files) {
      const entry = present.get(path);
      if (entry === undefined) problems.push({ path, problem: "missing" });
      else if (
        entry.isSpecial || entry.bytes !== bytes || sha256 !== await hashFile(join(folder, path), options)
      ) {
        problems.push({ path, problem: "changed" });
      }
      present.delete(path);
      options.onFile?.(path);
    }
    for (const path of present.keys()) problems.push({ path, problem: "unexpected" });
    return { manifest, problems };
  });
}
