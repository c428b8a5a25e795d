/** Everything that can be checked without running a test. Stops at the first step that fails. */
import config from "../deno.json" with { type: "json" };
import { say } from "./say.ts";

const STEPS: readonly (readonly string[])[] = [
  ["fmt", "--check"],
  ["lint"],
  ["check", "--frozen", "mod.ts", "src", "tests", "tools"],
  ["doc", "--lint", ...Object.values(config.exports)],
  ["publish", "--dry-run", "--allow-dirty"],
];

for (const args of STEPS) {
  say(`deno ${args.join(" ")}`);
  const { code } = await new Deno.Command(Deno.execPath(), { args: [...args], stdin: "null" }).spawn().status;
  if (code !== 0) Deno.exit(code);
}
