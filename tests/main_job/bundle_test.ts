import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { ROOT } from "../support/paths.ts";
import { keepLog, pixlJson } from "../support/pixl.ts";
import { startReceiver } from "../support/receiver.ts";
import { openSite } from "../support/site.ts";

Deno.test("dist/pixl.js does the whole job alone: an empty cache, no npm, no JSR, no configuration", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pixl-bundle-" });
  try {
    const built = await new Deno.Command(Deno.execPath(), {
      args: ["task", "--quiet", "bundle"],
      cwd: ROOT,
      stdin: "null",
    }).output();
    assertEquals(built.code, 0);
    await Deno.copyFile(join(ROOT, "dist/pixl.js"), join(dir, "pixl.js"));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--quiet", "--no-prompt", "--no-config", "--no-lock", "--no-remote", "--no-npm", "--cached-only"],
        ...[`--allow-read=${dir}`, `--allow-write=${dir}`, "--allow-run=ln", "--allow-net=127.0.0.1", "--ignore-env"],
        ...["pixl.js", "demo", "--json", "--studies", "5", "--rate", "100", "--dir", join(dir, "demo")],
      ],
      cwd: dir,
      clearEnv: true,
      env: { PATH: "/usr/bin:/bin", HOME: dir, DENO_DIR: join(dir, "empty") },
    }).output();
    const text = new TextDecoder();
    await keepLog("bundle", { code, stdout: text.decode(stdout), stderr: text.decode(stderr) });
    assertEquals(code, 0, text.decode(stderr));
    assertEquals(JSON.parse(text.decode(stdout)).ledger, { exported: 5 });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("dist/pixl.js uploads over several connections: it is the module of its own workers", async () => {
  await using ftps = await startReceiver({ mode: "implicit" });
  await using site = await openSite({ studies: 3, embedded: true, ftps: { ...ftps, mode: "implicit" } });
  await pixlJson(["populate", site.extractDir], site);
  const consume = [
    "consume",
    "pacs",
    "--handler",
    `pacs=${site.hospital.urls.pacs}`,
    "--rate",
    "1000",
    "--until-empty",
  ];
  await pixlJson(consume, site);
  const bundle = join(ROOT, "dist/pixl.js");
  const run = async (flags: readonly string[], words: readonly string[]) => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-config", "--no-lock", "--no-remote", "--no-npm", "--cached-only", ...flags, bundle, ...words],
      cwd: site.dir,
      clearEnv: true,
      env: { PATH: "/usr/bin:/bin", HOME: site.dir, ...site.env },
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout).trim();
  };
  const upload = ["upload", "images", "--connections", "2", "--json"];
  const flags = (await run(["-A"], ["permissions", "--", ...upload])).split("\n");

  assertEquals(JSON.parse(await run(flags, upload)).sent, 3);
});
