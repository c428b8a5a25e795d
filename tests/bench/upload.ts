import { FtpsDestination, FtpsPool } from "@pixl/core/upload";
import type { FtpsServer } from "../support/ftps.ts";
import { isAvailable, pathOf } from "../support/programs.ts";
import { startVsftpd } from "../support/vsftpd.ts";
import type { BareTask } from "./bare_tls_worker.ts";
import { type BenchRow, compare, perSecond } from "./bench.ts";
import { memoryFolder } from "./memory_folder.ts";
import { apart } from "./processors.ts";
import type { UploadTask } from "./upload_child.ts";

const GIB = 1 << 30;
const FILES = 1_000;
const FILE_BYTES = 100 * 1_024;
const CONNECTIONS = 4;
const MEMORY_LIMIT = 250e6;

/** Uploads beside curl and lftp, all to the same vsftpd. Ours verifies sizes and renames, they do not. Nothing where these are not installed. */
export async function benchUpload(): Promise<BenchRow[]> {
  if (!(["vsftpd", "curl", "lftp"] as const).every(isAvailable)) return [];
  const dir = await Deno.makeTempDir({ prefix: "pixl-bench-" });
  await using server = await startVsftpd({ mode: "explicit" });
  try {
    await Deno.writeTextFile(`${dir}/ca.pem`, server.caPem);
    await writeRandom(`${dir}/big`, GIB);
    await Deno.mkdir(`${dir}/many`);
    for (let at = 0; at < FILES; at++) await writeRandom(`${dir}/many/${at}.zip`, FILE_BYTES);
    return [
      await oneLarge(dir),
      await manySmall(server, dir),
      await manyBare(server, dir),
      await memory(server, dir, 1),
      await memory(server, dir, CONNECTIONS),
    ];
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/**
 * A session of vsftpd is two processes that hand each other every 16 KiB, and they take all of a processor. Left alone, chance decides whether they share
 * one, and with whom: medians of three rounds swayed from 0.84 to 1.57 times the peers'. So the server has a processor for itself, for everybody alike.
 *
 * And it keeps its files in memory where there is room: on a disk every other file took a tenth longer, whoever sent it, since the one before is freed
 * meanwhile, and who came in the odd rounds was ahead.
 */
async function oneLarge(dir: string): Promise<BenchRow> {
  const megabytes = GIB / 1e6;
  return await apart(async (processor) => {
    const parent = await memoryFolder(2 * GIB);
    await using server = await startVsftpd({
      mode: "explicit",
      parent,
      ...(processor === undefined ? {} : { processor }),
    });
    const target = `ftp://localhost:${server.port}${server.basePath}`;
    return await compare({
      area: "upload",
      name: "1 GiB to vsftpd over one connection, the server on a processor of its own and in memory",
      unit: "MB/s",
      goal: 1,
      rounds: 7,
      ours: () =>
        afresh(server, () =>
          perSecond(megabytes, async () => {
            await using destination = await FtpsDestination.open(server);
            await destination.put(`${dir}/big`, "big");
          })),
      peers: {
        curl: () =>
          afresh(server, () =>
            perSecond(megabytes, () =>
              run("curl", [
                ...["-sS", "--ssl-reqd", "--cacert", `${dir}/ca.pem`, "-u", `${server.user}:${server.password}`],
                ...["-T", `${dir}/big`, `${target}/big`],
              ]))),
        lftp: () =>
          afresh(
            server,
            () => perSecond(megabytes, () => lftp(server, dir, `put ${dir}/big -o ${server.basePath}/big`)),
          ),
      },
    });
  });
}

async function manySmall(server: FtpsServer, dir: string): Promise<BenchRow> {
  return await compare({
    area: "upload",
    name: `${FILES} files of 100 KiB to vsftpd over ${CONNECTIONS} connections`,
    unit: "files/s",
    goal: 1,
    rounds: 7,
    ours: () =>
      afresh(server, () =>
        perSecond(FILES, async () => {
          await using pool = await FtpsPool.open({ ...server, connections: CONNECTIONS });
          await Promise.all(
            Array.from({ length: FILES }, (_, at) => pool.put(`${dir}/many/${at}.zip`, `many/${at}.zip`)),
          );
        })),
    peers: {
      lftp: () => afresh(server, () => perSecond(FILES, () => mirror(server, dir))),
    },
  });
}

/** What can be had at all: see {@linkcode bare}. */
async function manyBare(server: FtpsServer, dir: string): Promise<BenchRow> {
  return await compare({
    area: "upload",
    name: "the same by our commands on bare TLS: no hash, no time-outs, no second try",
    unit: "files/s",
    goal: 0,
    rounds: 3,
    ours: () => afresh(server, () => perSecond(FILES, () => bare(server, dir))),
    peers: { lftp: () => afresh(server, () => perSecond(FILES, () => mirror(server, dir))) },
  });
}

/** How fast our way to send a file can be on Deno with a worker for each connection. */
async function bare(server: FtpsServer, dir: string): Promise<void> {
  const { host, port, user, password, caPem } = server;
  const files = Array.from({ length: FILES }, (_, at) => [`${dir}/many/${at}.zip`, `${at}.zip`] as const);
  const share = Math.ceil(FILES / CONNECTIONS);
  await Promise.all(Array.from({ length: CONNECTIONS }, async (_, at) => {
    const task: BareTask = {
      server: { host, port, user, password, caPem },
      folder: `${server.basePath}/many`,
      files: files.slice(at * share, (at + 1) * share),
    };
    const worker = new Worker(new URL("./bare_tls_worker.ts", import.meta.url), { type: "module" });
    worker.postMessage(task);
    await new Promise((resolve, reject) => [worker.onmessage, worker.onerror] = [resolve, reject]);
    worker.terminate();
  }));
}

/** Larger is better: how often the most memory fits into the limit. */
async function memory(server: FtpsServer, dir: string, connections: number): Promise<BenchRow> {
  const { host, port, user, password, mode, caPem, basePath } = server;
  const task: UploadTask = {
    ftps: { host, port, user, password, mode, caPem, basePath, connections },
    files: Array.from({ length: connections }, (_, at) => [`${dir}/big`, `big-${at}`] as const),
  };
  return await compare({
    area: "upload",
    name: `how often the most memory of ${connections} × 1 GiB at once fits into 250 MB`,
    unit: "times",
    goal: 1,
    rounds: 1,
    ours: () =>
      afresh(server, async () => {
        const child = new URL("./upload_child.ts", import.meta.url).pathname;
        const peak = await run(Deno.execPath(), ["run", "--quiet", "-A", child, JSON.stringify(task)]);
        return MEMORY_LIMIT / Number(peak);
      }),
    peers: { limit: () => 1 },
  });
}

/** Every run finds an empty folder. */
async function afresh(server: FtpsServer, work: () => Promise<number>): Promise<number> {
  for await (const { name } of Deno.readDir(server.files)) {
    await Deno.remove(`${server.files}/${name}`, { recursive: true });
  }
  return await work();
}

async function mirror(server: FtpsServer, dir: string): Promise<void> {
  await lftp(server, dir, `mirror -R -P${CONNECTIONS} ${dir}/many ${server.basePath}/many`);
}

async function lftp(server: FtpsServer, dir: string, command: string): Promise<void> {
  await run(pathOf("lftp"), [
    "-c",
    `set ssl:ca-file ${dir}/ca.pem; set ssl:verify-certificate yes; set ftp:ssl-force yes; ` +
    `set ftp:ssl-protect-data yes; set cmd:fail-exit yes; ` +
    `open -u ${server.user},${server.password} ftp://localhost:${server.port}; ${command}`,
  ]);
}

async function run(program: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args, stdin: "null" }).output();
  if (!success) throw new Error(`${program} failed: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

async function writeRandom(path: string, bytes: number): Promise<void> {
  using file = await Deno.create(path);
  const piece = new Uint8Array(65_536);
  for (let left = bytes; left > 0;) {
    crypto.getRandomValues(piece);
    left -= await file.write(piece.subarray(0, Math.min(left, piece.length)));
  }
}
