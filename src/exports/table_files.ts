import { join } from "node:path";
import { ExtractError } from "./errors.ts";

/** The parquet files that make up one table of an extract. */
export interface TableFiles {
  /** One path, or the parts in the order of their names. */
  readonly paths: readonly string[];
}

/** A table where it was found. */
export interface FoundTable extends TableFiles {
  /** Which way it lies there: `public/X.parquet`, `public/omop/X.parquet` or `public/omop/x/*.parquet`. */
  readonly layout: string;
}

/**
 * Finds a table in an extract, whichever way OMOP ES laid it out: `public/X.parquet`, `public/omop/X.parquet`, or parts in a folder,
 * `public/omop/x/part-*.parquet`. Upper and lower case are the same, of folders too.
 *
 * @param dir The extract's folder.
 * @param part `public` or `private`.
 * @param table The table's name.
 * @returns Its files.
 * @throws {ExtractError} `table-missing` or `access-refused`.
 */
export async function findTable(dir: string, part: "public" | "private", table: string): Promise<FoundTable> {
  const wanted = table.toLowerCase();
  const label = `${part}/${table}.parquet`;
  const top = await findFolder(dir, part);
  for (const place of [part, `${part}/omop`]) {
    const folder = place === part ? top : await findFolder(top, "omop");
    const names = await list(folder);
    const file = findName(names, `${wanted}.parquet`, folder);
    if (file !== undefined) return { paths: [join(folder, file)], layout: `${place}/X.parquet` };
    const parts = findName(names, wanted, folder);
    if (parts === undefined) continue;
    const paths = (await list(join(folder, parts))).filter((name) => /^[^._].*\.parquet$/i.test(name)).sort();
    if (paths.length > 0) {
      return { paths: paths.map((name) => join(folder, parts, name)), layout: `${place}/x/*.parquet` };
    }
  }
  throw new ExtractError("table-missing", `Cannot find '${label}' in '${dir}': ask for an extract that has it`);
}

/**
 * Finds a folder whose name is in upper or lower case.
 *
 * @param dir Where to look. @param name Its name in lower case.
 * @returns Its path; with the name as it was given, if there is none.
 * @throws {ExtractError} `access-refused`, or `table-missing` if there are several.
 */
export async function findFolder(dir: string, name: string): Promise<string> {
  return join(dir, findName(await list(dir), name, dir) ?? name);
}

/** Of two that differ in upper and lower case, nobody knows which is the one that was meant. */
function findName(names: readonly string[], wanted: string, folder: string): string | undefined {
  const [found, another] = names.filter((name) => name.toLowerCase() === wanted).sort();
  if (another === undefined) return found;
  throw new ExtractError("table-missing", `Cannot choose between '${found}' and '${another}' in '${folder}': keep one`);
}

async function list(folder: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory) return [];
    throw new ExtractError("access-refused", `Cannot list '${folder}': give this user, and Deno, read access`, {
      cause,
    });
  }
}
