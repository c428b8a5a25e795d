/**
 * Writes `dist/pixl`: one executable file with the Deno runtime and the bundle inside, for hosts that have nothing installed. See launcher.sh for what
 * it does at each start.
 */
import { bundle } from "./bundle.ts";
import { say } from "./say.ts";

const OUT = "dist/pixl";

await bundle();
const stage = await Deno.makeTempDir({ prefix: "pixl-pack-" });
try {
  await Deno.copyFile(Deno.execPath(), `${stage}/deno`);
  await Deno.copyFile("dist/pixl.js", `${stage}/pixl.js`);
  await Deno.chmod(`${stage}/deno`, 0o755);
  await Deno.chmod(`${stage}/pixl.js`, 0o644);
  // Same input, same bytes: no names, times or owners of the machine that packs.
  await sh(
    `tar -C "$1" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - deno pixl.js | gzip -9n > "$1/payload"`,
    stage,
  );
  const payload = await Deno.readFile(`${stage}/payload`);
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", payload)).toHex();
  const launcher = (await Deno.readTextFile(new URL("launcher.sh", import.meta.url))).replaceAll("@SUM@", sum);
  using out = await Deno.open(OUT, { create: true, write: true, truncate: true, mode: 0o755 });
  for (let bytes of [new TextEncoder().encode(launcher), payload]) {
    while (bytes.length > 0) bytes = bytes.subarray(out.writeSync(bytes));
  }
  await Deno.chmod(OUT, 0o755);
} finally {
  await Deno.remove(stage, { recursive: true });
}
say(`${OUT}: ${((await Deno.stat(OUT)).size / 1e6).toFixed(1)} MB`);

async function sh(script: string, ...args: string[]): Promise<void> {
  const { success } = await new Deno.Command("sh", { args: ["-euc", script, "sh", ...args], stdin: "null" }).output();
  if (!success) throw new Error(`sh failed: ${script}`);
}
