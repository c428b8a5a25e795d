import { ROOT } from "./paths.ts";
import { join } from "node:path";

/**
 * A fixture that is not part of the repository: real-shaped extracts, in the folder PIXL_FIXTURES or beside the repository.
 *
 * @returns Its path; `undefined` where it is absent.
 */
async function fixture(name: string): Promise<string | undefined> {
  const root = Deno.env.get("PIXL_FIXTURES") ?? join(ROOT, "../shared/fixtures");
  const path = join(root, name);
  try {
    await Deno.stat(path);
    return path;
  } catch {
    return undefined;
  }
}

/** Registers a test that needs a fixture; without it the test is left out and its name says so. */
export async function fixtureTest(
  name: string,
  fixtureName: string,
  run: (path: string) => Promise<void>,
): Promise<void> {
  const path = await fixture(fixtureName);
  Deno.test({
    name: path === undefined ? `${name} (left out: no fixtures, set PIXL_FIXTURES)` : name,
    ignore: path === undefined,
    fn: () => run(path ?? ""),
  });
}
