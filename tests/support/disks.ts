import { assert } from "@std/assert";

/** A small disk at that folder, as root. */
export async function smallDisk(folder: string, bytes: number): Promise<AsyncDisposable> {
  await run("mount", "-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", folder);
  return { [Symbol.asyncDispose]: () => run("umount", "-l", folder) };
}

/** Mounts it anew, so that nothing can be written. */
export async function makeReadOnly(folder: string): Promise<void> {
  await run("mount", "-o", "remount,ro", folder);
}

async function run(program: string, ...args: string[]): Promise<void> {
  const { success } = await new Deno.Command(program, { args, stderr: "inherit" }).output();
  assert(success, `${program} failed`);
}
