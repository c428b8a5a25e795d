/**
 * Shares the processors out between a server and its clients, as if each had a host of its own: this process, and what it starts meanwhile, keeps off
 * the last one.
 *
 * @param work Gets the processor that the server may have; `undefined` where there is but one for all, or no `taskset` (util-linux).
 */
export async function apart<T>(work: (server: number | undefined) => Promise<T>): Promise<T> {
  const [, all = ""] = /^Cpus_allowed_list:\s*(\S+)$/m.exec(await Deno.readTextFile("/proc/self/status")) ?? [];
  const processors = all.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, at) => first + at);
  });
  const server = processors.pop();
  if (processors.length === 0) return await work(undefined);
  try {
    await keepTo(processors.join());
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return await work(undefined); // no taskset
    throw error;
  }
  try {
    return await work(server);
  } finally {
    await keepTo(all);
  }
}

async function keepTo(processors: string): Promise<void> {
  const args = ["--all-tasks", "--pid", "--cpu-list", processors, String(Deno.pid)];
  const { success, stderr } = await new Deno.Command("taskset", { args, stdout: "null" }).output();
  if (!success) throw new Error(`taskset failed: ${new TextDecoder().decode(stderr)}`);
}
