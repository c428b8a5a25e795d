import { assertEquals, assertGreater, assertNotEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { listFiles } from "../../src/demo/files.ts";
import { keepLog, type PixlRun } from "../support/pixl.ts";
import { ROOT } from "../support/paths.ts";
import { testWith } from "../support/programs.ts";
import { useSharedRabbitmq } from "../support/rabbitmq.ts";
import { openSite, type Site } from "../support/site.ts";
import { startVsftpd } from "../support/vsftpd.ts";

useSharedRabbitmq();

/** What the launcher itself uses; nothing else is on its PATH. */
const TOOLS = [
  "sh",
  "env",
  "sed",
  "id",
  "find",
  "mkdir",
  "mktemp",
  "rm",
  "awk",
  "tail",
  "sha256sum",
  "cut",
  "gzip",
  "tar",
  "mv",
  "ln",
];

/** A host without Deno, Node and npm: a PATH with the launcher's tools only, and an empty home. */
interface Host extends AsyncDisposable {
  readonly home: string;
  readonly pixl: (args: readonly string[], site: Site, more?: Readonly<Record<string, string>>) => Promise<PixlRun>;
}

let packed: Promise<string> | undefined;

/** Packs once. */
function pack(): Promise<string> {
  packed ??= (async () => {
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["task", "pack"],
      cwd: ROOT,
      stdin: "null",
    }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
    return join(ROOT, "dist/pixl");
  })();
  return packed;
}

async function bareHost(): Promise<Host> {
  const program = await pack();
  const dir = await Deno.makeTempDir({ prefix: "pixl-host-" });
  const [home, bin] = [join(dir, "home"), join(dir, "bin")];
  await Deno.mkdir(home);
  await Deno.mkdir(bin);
  for (const tool of TOOLS) await Deno.symlink(await which(tool), join(bin, tool));
  return {
    home,
    async pixl(args, site, more = {}) {
      const { code, stdout, stderr } = await new Deno.Command(program, {
        args: [...args],
        cwd: site.cwd,
        clearEnv: true,
        env: { ...site.env, HOME: home, PATH: bin, ...more },
        stdin: "null",
      }).output();
      const text = new TextDecoder();
      const run = { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
      await keepLog(`dist/pixl ${args[0]}`, run);
      return run;
    },
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
}

async function which(tool: string): Promise<string> {
  for (const folder of ["/usr/bin", "/bin"]) {
    const path = join(folder, tool);
    if (await Deno.stat(path).then(() => true, () => false)) return path;
  }
  throw new Error(`No ${tool} here`);
}

testWith(
  ["rabbitmq", "postgresql", "vsftpd"],
  "dist/pixl does the main job on a host with nothing installed",
  async () => {
    await using host = await bareHost();
    await using ftps = await startVsftpd({ mode: "implicit" });
    await using site = await openSite({ ftps, studies: 10 });
    const { pacs, ehr } = site.hospital.urls;
    const steps = [
      ["migrate"],
      ["populate", site.extractDir],
      ["consume", "pacs", "ehr", "--handler", `pacs=${pacs}`, `ehr=${ehr}`, "--rate", "200", "--until-empty"],
      ["export", site.extractDir],
      ["upload", "images"],
      ["upload", "parquet"],
    ];
    for (const step of steps) {
      const { code, stderr } = await host.pixl(step, site);
      assertEquals([step[0], code, code === 0 ? "" : stderr], [step[0], 0, ""]);
    }
    const arrived = await listFiles(ftps.files);
    assertEquals(arrived.filter((path) => path.endsWith(".zip")).length, 10);
    assertGreater(arrived.filter((path) => path.endsWith(".parquet")).length, 1);
  },
);

testWith(
  ["rabbitmq", "postgresql", "vsftpd"],
  "dist/pixl denies a host and a folder outside its role, whatever DENO_* says",
  async () => {
    await using host = await bareHost();
    await using ftps = await startVsftpd({ mode: "implicit" });
    await using site = await openSite({ ftps, studies: 2 });
    // Deno would ask this broker about every access, and allow what it allows, if the launcher let the variable through.
    const socket = join(site.dir, "broker");
    using broker = Deno.listen({ transport: "unix", path: socket });
    let asked = 0;
    const answering = (async () => {
      for await (const connection of broker) {
        asked += 1;
        connection.close();
      }
    })().catch(() => {});
    const widened = { DENO_PERMISSION_BROKER_PATH: socket, DENO_DIR: site.dir, NODE_OPTIONS: "--require=/etc/passwd" };

    const { code, stdout } = await host.pixl(["permissions", "--", "upload", "images"], site, widened);
    assertEquals(code, 0);
    const flags = stdout.trim().split("\n");
    const [version = ""] = await listDir(join(host.home, ".cache/pixl"));
    const probe = join(site.dir, "probe.js");
    await Deno.writeTextFile(probe, PROBE);
    const allowed = { inside: site.imageDir, outside: site.exportDir, port: String(ftps.port), strange: "127.0.0.9" };
    const { stdout: found } = await new Deno.Command(join(host.home, ".cache/pixl", version, "deno"), {
      args: ["run", "--quiet", "--no-config", ...flags, probe, JSON.stringify(allowed)],
      clearEnv: true,
      env: { HOME: host.home },
    }).output();

    assertEquals(JSON.parse(new TextDecoder().decode(found)), {
      "read inside": "allowed",
      "read outside": "NotCapable",
      "read /etc/hostname": "NotCapable",
      "write inside": "NotCapable",
      "connect to the FTPS server": "allowed",
      "connect to another host": "NotCapable",
      "run a program": "NotCapable",
      "environment": "undefined",
    });
    assertEquals(asked, 0);
    broker.close();
    await answering;
  },
);

const PROBE = `
const { inside, outside, port, strange } = JSON.parse(Deno.args[0]);
const found = {};
const attempt = async (what, act) => {
  try { found[what] = (await act()) ?? "allowed"; } catch (error) { found[what] = error.name; }
};
const read = async (dir) => { for await (const _ of Deno.readDir(dir)) break; };
const connect = async (hostname, port) => { (await Deno.connect({ hostname, port })).close(); };
await attempt("read inside", () => read(inside));
await attempt("read outside", () => read(outside));
await attempt("read /etc/hostname", () => Deno.readTextFile("/etc/hostname"));
await attempt("write inside", () => Deno.writeTextFile(inside + "/x", ""));
await attempt("connect to the FTPS server", () => connect("localhost", Number(port)));
await attempt("connect to another host", () => connect(strange, Number(port)));
await attempt("run a program", () => new Deno.Command("/bin/ln").output());
await attempt("environment", () => String(Deno.env.get("HOME")));
console.log(JSON.stringify(found));
`;

async function listDir(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name);
}

Deno.test("dist/pixl takes no permission from a line end in an argument or a setting", async () => {
  await using host = await bareHost();
  await using site = await openSite({ studies: 2, embedded: true });
  const script = join(site.dir, "script.js");
  await Deno.writeTextFile(script, 'console.log("RAN")');
  const injected = `${site.dir}/x\n--allow-run\n${script}`;
  for (const [args, more] of [[["populate", injected], {}], [["status"], { PIXL_DATA_DIR: injected }]] as const) {
    const { code, stdout, stderr } = await host.pixl(args, site, more);
    assertEquals([code, stdout], [2, ""]);
    assertStringIncludes(stderr, "cannot be permitted");
  }
});

Deno.test("dist/pixl without arguments shows its help", async () => {
  await using host = await bareHost();
  await using site = await openSite({ studies: 2, embedded: true });
  const { code, stderr } = await host.pixl([], site);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "Usage: pixl");
});

Deno.test("dist/pixl says so when it is damaged, and leaves nothing", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pixl-damaged-" });
  try {
    const bytes = await Deno.readFile(await pack());
    const at = bytes.length - 1_000;
    bytes.fill(0, at, at + 10);
    await Deno.writeFile(join(dir, "pixl"), bytes, { mode: 0o755 });
    const run = await new Deno.Command(join(dir, "pixl"), {
      args: ["--version"],
      clearEnv: true,
      env: { PIXL_HOME: join(dir, "home"), PATH: "/usr/bin:/bin" },
    }).output();
    assertNotEquals(run.code, 0);
    assertStringIncludes(new TextDecoder().decode(run.stderr), "damaged");
    assertEquals(await listFiles(join(dir, "home")), []);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
