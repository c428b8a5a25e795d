import { createHash } from "node:crypto";
import { join } from "node:path";

/**
 * Every file below a folder.
 *
 * @param root The folder; one that is not there has no files.
 * @returns Paths below it, with `/`.
 */
export async function listFiles(root: string): Promise<string[]> {
  const paths: string[] = [];
  const walk = async (below: string): Promise<void> => {
    for await (const entry of Deno.readDir(join(root, below))) {
      const path = below === "" ? entry.name : `${below}/${entry.name}`;
      if (entry.isDirectory) await walk(path);
      else paths.push(path);
    }
  };
  try {
    await walk("");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return paths.sort();
}

/** SHA-256 of a file in hexadecimal, or `undefined` if it is not there. */
export async function hashFile(path: string): Promise<string | undefined> {
  try {
    const hash = createHash("sha256");
    using file = await Deno.open(path);
    for await (const chunk of file.readable) hash.update(chunk);
    return hash.digest("hex");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
