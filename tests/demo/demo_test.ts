import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { listFiles } from "../../src/demo/files.ts";
import { keepLog } from "../support/pixl.ts";
import { ROOT } from "../support/paths.ts";
import { until } from "../support/until.ts";

interface Report {
  readonly studies: number;
  readonly published: unknown;
  readonly handled: unknown;
  readonly dead: unknown;
  readonly retries: number;
  readonly exported: { readonly parquetFiles: number; readonly reportRows: number };
  readonly uploaded: {
    readonly images: number;
    readonly exportFiles: number;
    readonly bytes: number;
    readonly verified: number;
  };
  readonly ledger: unknown;
  readonly seconds: number;
}

/** Runs `deno task demo --json` as a user does. */
async function demo(...args: string[]): Promise<Report> {
  return (await demoSaying(...args)).report;
}

/** The same, with what it said to people. */
async function demoSaying(...args: string[]): Promise<{ readonly report: Report; readonly said: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "demo", "--json", ...args],
    cwd: ROOT,
    stdin: "null",
  }).output();
  const text = new TextDecoder();
  await keepLog("demo", { code, stdout: text.decode(stdout), stderr: text.decode(stderr) });
  if (code !== 0) throw new Error(text.decode(stderr));
  return { report: JSON.parse(text.decode(stdout)), said: text.decode(stderr) };
}

Deno.test("deno task demo does the whole job; run again on its folder, nothing is sent twice", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pixl-demo-" });
  try {
    const first = await demo("--dir", dir, "--studies", "20", "--rate", "100");
    const files = first.exported.parquetFiles;
    assertEquals({ ...first, retries: first.retries > 0, seconds: first.seconds > 0 }, {
      studies: 20,
      published: { pacs: 20, ehr: 20 },
      handled: { pacs: 20, ehr: 20 },
      dead: { pacs: 0, ehr: 0 },
      retries: true,
      exported: { parquetFiles: files, reportRows: 20 },
      uploaded: { images: 20, exportFiles: files + 1, bytes: first.uploaded.bytes, verified: 20 + files + 1 },
      ledger: { exported: 20 },
      seconds: true,
    });
    const arrived = await listFiles(join(dir, "dsh"));

    const { report: second, said } = await demoSaying("--dir", dir, "--studies", "30", "--rate", "100");

    assertStringIncludes(said, "--studies 30 is not used");
    assertEquals([second.published, second.handled], [{ pacs: 0, ehr: 0 }, { pacs: 0, ehr: 0 }]);
    assertEquals(second.uploaded, { images: 0, exportFiles: 0, bytes: 0, verified: 20 + files + 1 });
    assertEquals(await listFiles(join(dir, "dsh")), arrived);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("deno task demo finishes what an interrupted run began", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pixl-demo-" });
  try {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "-P=demo", "mod.ts", "demo", "--dir", dir, "--studies", "20", "--rate", "5"],
      cwd: ROOT,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    await until("studies are imaged", async () => (await listFiles(join(dir, "images"))).length >= 3);
    child.kill("SIGINT");
    assertEquals((await child.status).code, 130);

    const second = await demo("--dir", dir, "--studies", "20", "--rate", "100");

    assertEquals([second.published, second.ledger], [{ pacs: 0, ehr: 0 }, { exported: 20 }]);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("deno task demo names a folder that it cannot write in", async () => {
  const file = await Deno.makeTempFile();
  try {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["task", "--quiet", "demo", "--dir", file],
      cwd: ROOT,
      stdin: "null",
    }).output();
    assertEquals([code, new TextDecoder().decode(stderr)], [
      2,
      `pixl: Cannot write in '${file}': give --dir a folder that this user can write to\n`,
    ]);
  } finally {
    await Deno.remove(file);
  }
});
