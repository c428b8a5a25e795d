import { FtpsPool, type FtpsPoolOptions } from "@pixl/core/upload";

/** What the child is to upload. */
export interface UploadTask {
  readonly ftps: FtpsPoolOptions;
  readonly files: readonly (readonly [source: string, path: string])[];
}

/** Uploads in a process of its own and prints the most memory that it ever had, in bytes. */
if (import.meta.main) {
  const { ftps, files }: UploadTask = JSON.parse(Deno.args[0] ?? "");
  {
    await using pool = await FtpsPool.open(ftps);
    await Promise.all(files.map(([source, path]) => pool.put(source, path)));
  }
  const [, kilobytes = ""] = /^VmHWM:\s+(\d+) kB/m.exec(await Deno.readTextFile("/proc/self/status")) ?? [];
  await Deno.stdout.write(new TextEncoder().encode(String(Number(kilobytes) * 1_024)));
}
