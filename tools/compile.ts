/**
 * Runs the official `deno compile` on the bundle, with the permissions of one role of deno.json baked in: `deno task compile [ROLE]`. Exits with 4 where
 * the base runtime that Deno downloads for it is out of reach; `deno task pack` needs no download.
 */
import config from "../deno.json" with { type: "json" };
import { bundle } from "./bundle.ts";
import { say } from "./say.ts";

type List = boolean | readonly string[];
type Rules = List | Readonly<Partial<Record<"allow" | "deny" | "ignore", List>>>;

const ROLES = ["populate", "consume", "export", "upload"] as const;

const role = ROLES.find((name) => name === (Deno.args[0] ?? "consume"));
if (role === undefined) {
  say(`'${Deno.args[0]}' is no role: use one of ${ROLES.join(", ")}`);
  Deno.exit(2);
}
const out = `dist/pixl-${role}`;
const { success, stderr } = await new Deno.Command(Deno.execPath(), {
  args: [
    "compile",
    "--no-check",
    "--no-prompt",
    ...flagsOf(config.permissions[role]),
    `--output=${out}`,
    await bundle(),
  ],
  stdin: "null",
  stdout: "inherit",
  stderr: "piped",
}).output();
const text = new TextDecoder().decode(stderr);
if (success) {
  say(`${out}: ${((await Deno.stat(out)).size / 1e6).toFixed(1)} MB, for the role '${role}'`);
} else if (/download|fetch|denort|resolve|connect|dns/i.test(text)) {
  say(
    "Cannot compile: Deno's base runtime (denort) cannot be downloaded from here; use 'deno task pack', which needs no download",
  );
  Deno.exit(4);
} else {
  say(text);
  Deno.exit(1);
}

/** As flags, relative paths stay relative to where the program runs; `-P` would bake in those of this machine. */
function flagsOf(permissions: Readonly<Record<string, Rules>>): string[] {
  const flag = (mode: string, name: string, list: List) => {
    if (typeof list === "boolean") return list ? [`--${mode}-${name}`] : [];
    return [`--${mode}-${name}=${list.join(",")}`];
  };
  return Object.entries(permissions).flatMap(([name, rules]) => {
    if (typeof rules === "boolean" || isList(rules)) return flag("allow", name, rules);
    return Object.entries(rules).flatMap(([mode, list]) => flag(mode, name, list));
  });
}

function isList(rules: Rules): rules is readonly string[] {
  return Array.isArray(rules);
}
