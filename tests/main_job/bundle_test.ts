import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { keepLog } from "../support/pixl.ts";
import { ROOT } from "../support/paths.ts";

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
