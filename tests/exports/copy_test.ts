import { assert, assertEquals, assertRejects } from "@std/assert";
import { deadline } from "@std/async";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { copyFile } from "../../src/exports/copy_file.ts";
import { ExportError, ExtractError, ParquetExport } from "../../src/exports/mod.ts";
import { HashPool } from "../../src/exports/hash_pool.ts";
import { inParallel } from "../../src/exports/in_parallel.ts";
import { temporaryFolder } from "./temporary_folder.ts";

const LARGE = new Uint8Array(20 << 20).map((_, i) => i % 251);
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

Deno.test("HashPool.hash() hashes large files in other threads, more of them than there are threads", async () => {
  await using dir = await temporaryFolder();
  const paths = Array.from({ length: 9 }, (_, i) => join(dir.path, `${i}`));
  await Promise.all(paths.map((path, i) => Deno.writeFile(path, LARGE.subarray(i))));
  using pool = new HashPool();
  let told = 0;
  const onBytes = (bytes: number) => told += bytes;
  const hashes = await Promise.all(paths.map((path) => pool.hash(path, LARGE.length, { onBytes })));
  assertEquals(hashes, paths.map((_, i) => sha256(LARGE.subarray(i))));
  assertEquals(told, 9 * LARGE.length - 36);
});

Deno.test("HashPool.hash() says what is wrong with a file, and can be stopped within one", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "a");
  await Deno.writeFile(path, LARGE);
  using pool = new HashPool();
  const error = await assertRejects(() => pool.hash(join(dir.path, "b"), LARGE.length), Error);
  assertEquals((error as Error & { code?: string }).code, "ENOENT");
  const controller = new AbortController();
  const { signal } = controller;
  let told = 0;
  const onBytes = (bytes: number) => {
    told += bytes;
    controller.abort(new Error("Stop"));
  };
  await assertRejects(() => pool.hash(path, LARGE.length, { signal, onBytes }), Error, "Stop");
  assert(told < LARGE.length, `${told} bytes`);
  assertEquals(await pool.hash(path, LARGE.length), sha256(LARGE));
});

Deno.test("HashPool.hash() lets nobody wait for ever when all are stopped", async () => {
  await using dir = await temporaryFolder();
  const path = join(dir.path, "a");
  await Deno.writeFile(path, LARGE);
  using pool = new HashPool(1);
  const controller = new AbortController();
  const { signal } = controller;
  const onBytes = () => controller.abort(new Error("Stop"));
  const hashing = [1, 2, 3, 4].map(() => pool.hash(path, LARGE.length, { signal, onBytes }));
  const ended = await deadline(Promise.allSettled(hashing), 10_000);
  assertEquals(ended.map(({ status }) => status), Array(4).fill("rejected"));
  assertEquals(await pool.hash(path, LARGE.length), sha256(LARGE));
});

Deno.test({
  name: "HashPool.hash() needs no permission but to read the file",
  fn: async () => {
    await using dir = await temporaryFolder();
    const path = join(dir.path, "large");
    await Deno.writeFile(path, LARGE);
    const module = JSON.stringify(import.meta.resolve("../../src/exports/hash_pool.ts"));
    const script = `import { HashPool } from ${module};
      using pool = new HashPool();
      console.log(await pool.hash(${JSON.stringify(path)}, ${LARGE.length}));`;
    const config = join(import.meta.dirname ?? ".", "../../deno.json");
    const args = ["run", "-q", "--no-check", "--no-prompt", "-c", config, `--allow-read=${dir.path}`];
    const code = `data:text/javascript,${encodeURIComponent(script)}`;
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args: [...args, code] }).output();
    assertEquals(new TextDecoder().decode(stdout).trim(), sha256(LARGE), new TextDecoder().decode(stderr));
  },
});

for (
  const [what, change] of [
    ["grows", (path: string) => Deno.writeFile(path, new Uint8Array(1), { append: true })],
    ["gets another time", (path: string) => Deno.utime(path, 1, 1)],
    ["is replaced", async (path: string) => {
      await Deno.writeFile(`${path}.new`, LARGE);
      await Deno.utime(`${path}.new`, 1_700_000_000, 1_700_000_000);
      await Deno.rename(`${path}.new`, path);
    }],
    ["is removed", (path: string) => Deno.remove(path)],
  ] as const
) {
  Deno.test(`copyFile() notices that its source ${what} meanwhile`, async () => {
    await using dir = await temporaryFolder();
    const [from, to] = [join(dir.path, "from"), join(dir.path, "to")];
    await Deno.writeFile(from, LARGE);
    await Deno.utime(from, 1_700_000_000, 1_700_000_000);
    const { copyFile: copy } = Deno;
    // As if another program did it just after the system's copy.
    Deno.copyFile = async (source, target) => {
      await copy(source, target);
      await change(from);
    };
    try {
      const error = await assertRejects(() => copyFile(from, to), ExportError, from);
      assertEquals([error.code, error.kind], ["source-changed", "unavailable"]);
    } finally {
      Deno.copyFile = copy;
    }
  });
}

Deno.test("inParallel() works on so many at a time and gives the results in order", async () => {
  let [running, most] = [0, 0];
  const results = await inParallel([5, 4, 3, 2, 1], 2, async (item) => {
    most = Math.max(most, ++running);
    for (let turn = 0; turn < item; turn++) await Promise.resolve();
    running--;
    return item * 10;
  });
  assertEquals([results, most], [[50, 40, 30, 20, 10], 2]);
});

Deno.test("inParallel() throws the first error when all have ended, and begins no more", async () => {
  const ended: number[] = [];
  const work = async (item: number, signal: AbortSignal) => {
    if (item === 1) throw new TypeError("First");
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    ended.push(item);
    signal.throwIfAborted();
  };
  await assertRejects(() => inParallel([0, 1, 2, 3], 2, work), TypeError, "First");
  assertEquals(ended, [0]);
});

Deno.test("ParquetExport.copyOmop() names the source of a file that is unreadable, and takes hidden ones as they are", async () => {
  await using dir = await temporaryFolder();
  const publicDir = join(dir.path, "Public");
  await Deno.mkdir(publicDir);
  const exports = join(dir.path, "exports");
  await Deno.mkdir(exports);
  for (const name of ["._PERSON.parquet", "_metadata.parquet"]) {
    await Deno.writeTextFile(join(publicDir, name), "no parquet");
  }
  await using parquetExport = new ParquetExport("Copy", "2023-12-07T14:08:58", exports);
  const files = await parquetExport.copyOmop({ publicDir });
  assertEquals(files.map(({ path, rows }) => `${path} ${rows}`), [
    "omop/public/._PERSON.parquet null",
    "omop/public/_metadata.parquet null",
  ]);
  const bad = join(publicDir, "PERSON.parquet");
  await Deno.writeTextFile(bad, "no parquet");
  await assertRejects(() => parquetExport.copyOmop({ publicDir }), ExtractError, `'${bad}'`);
  await Deno.remove(publicDir, { recursive: true });
  const error = await assertRejects(() => parquetExport.copyOmop({ publicDir }), ExtractError, publicDir);
  assertEquals(error.code, "access-refused");
});
