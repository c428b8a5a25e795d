import { join } from "node:path";

/**
 * A fixture that is not part of the repository: real-shaped extracts, in the folder PIXL_FIXTURES or beside the repository.
 *
 * @returns Its path; `undefined` where it is absent.
 */
export async function fixture(name: string): Promise<string | undefined> {
  const root = Deno.env.get("PIXL_FIXTURES") ?? join(import.meta.dirname ?? ".", "../../../shared/fixtures");
  const path = join(root, name);
  try {
    await Deno.stat(path);
    return path;
  } catch {
    return undefined;
  }
}
