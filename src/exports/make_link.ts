import { ExportError } from "./errors.ts";

/**
 * Makes a symbolic link. Deno lets only those make one who may read and write everything, since a link may lead anywhere; with fewer rights the program
 * `ln` makes it, which needs nothing but to be run.
 *
 * @param target What the link says.
 * @param path The link. Nothing may be there.
 * @throws {ExportError} `link-refused` if neither is allowed.
 */
export async function makeLink(target: string, path: string): Promise<void> {
  if (await mayLinkItself()) return await Deno.symlink(target, path, { type: "dir" });
  try {
    const { success } = await new Deno.Command("ln", {
      args: ["-s", "--", target, path],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).output();
    if (success) return;
  } catch (cause) {
    throw linkRefused(path, cause);
  }
  throw linkRefused(path);
}

/**
 * Finds out beforehand whether {@linkcode makeLink} will be allowed.
 *
 * @param path The link, for the error.
 * @throws {ExportError} `link-refused` if not.
 */
export async function checkLinkable(path: string): Promise<void> {
  if (await mayLinkItself()) return;
  const { state } = await Deno.permissions.query({ name: "run", command: "ln" });
  if (state !== "granted") throw linkRefused(path);
}

async function mayLinkItself(): Promise<boolean> {
  const states = await Promise.all((["read", "write"] as const).map((name) => Deno.permissions.query({ name })));
  return states.every(({ state }) => state === "granted");
}

function linkRefused(path: string, cause?: unknown): ExportError {
  const message = `Cannot make the link '${path}': allow it with --allow-run=ln`;
  return new ExportError("link-refused", message, cause === undefined ? undefined : { cause });
}
