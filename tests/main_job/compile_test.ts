import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { ROOT } from "../support/paths.ts";

Deno.test("deno task compile bakes a role in, or says that its base runtime is out of reach and exits with 4", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "compile", "upload"],
    cwd: ROOT,
    stdin: "null",
  }).output();
  const said = new TextDecoder().decode(stderr);
  if (code !== 0) {
    assertEquals(code, 4, said);
    assertStringIncludes(said, "deno task pack");
    return;
  }
  const { stdout } = await new Deno.Command(join(ROOT, "dist/pixl-upload"), { args: ["--version"] }).output();
  assertEquals(new TextDecoder().decode(stdout), "0.1.0\n");
});
