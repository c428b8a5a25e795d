import { assert, assertEquals } from "@std/assert";
import type { Ledger } from "../../src/database/mod.ts";
import { uploadImages } from "../../src/pipeline/upload_images.ts";
import type { UploadResult } from "../../src/pipeline/upload_result.ts";
import { FtpsDestination, type FtpsOptions, FtpsPool, isPartName, Pace, UploadError } from "../../src/upload/mod.ts";
import type { FtpsServer, FtpsServerOptions } from "../support/ftps.ts";
import { FtpsProxy } from "../support/ftps_proxy.ts";
import { testWith } from "../support/programs.ts";
import { startProftpd } from "../support/proftpd.ts";
import { startReceiver } from "../support/receiver.ts";
import { startVsftpd } from "../support/vsftpd.ts";
import { smallDisk } from "../support/disks.ts";
import { sha256 } from "../upload/workbench.ts";
import { site, type UploadSite } from "./upload_site.ts";

const MB = 1 << 20;
const STUDIES = 2;
const ZIP_BYTES = 3 * MB;

/** What happens to an upload. */
interface Fault {
  readonly start?: Partial<FtpsServerOptions>;
  /** Needs a server whose sessions are processes and that knows users. */
  readonly needsUsers?: true;
  /** Prepares the server. @param folder The project's folder there. @param own Gives it to the server's user. */
  readonly before?: (folder: string, own: () => Promise<void>) => Promise<AsyncDisposable>;
  /** Logs in otherwise. */
  readonly login?: Partial<FtpsOptions>;
  /** Strikes on the way of the first file. */
  readonly strike?: (proxy: FtpsProxy, server: FtpsServer) => void;
  /** How much of it has been read then, as a fraction. @default {0.5} */
  readonly at?: number;
  /** Whether the server can take the files afterwards. @default {true} */
  readonly passes?: false;
}

const FAULTS: Readonly<Record<string, Fault>> = {
  "the control connection is cut": { strike: ({ control }) => control.cut() },
  "the data connection is cut": { strike: (proxy) => proxy.cutData() },
  "the data connection is cut with the first bytes": { at: 0, strike: (proxy) => proxy.cutData() },
  "the data connection is cut with the last bytes": { at: 0.999, strike: (proxy) => proxy.cutData() },
  "the password is wrong": { login: { password: "PWSEED-wrong" } },
  "the certificate is for another name": { login: { servername: "other.example" } },
  "the control connection stalls": { strike: ({ control }) => control.freeze(), passes: false },
  "the data connection stalls": { strike: (proxy) => proxy.freezeData(), passes: false },
  "the server's process is killed": { needsUsers: true, strike: (_, { killSessions }) => void killSessions?.() },
  "the disk is full": {
    needsUsers: true,
    before: async (folder, own) => {
      const disk = await smallDisk(folder, MB);
      await own();
      return disk;
    },
  },
  "the folder is denied": {
    needsUsers: true,
    before: async (folder, own) => {
      await Deno.chown(folder, 0, 0);
      return { [Symbol.asyncDispose]: own };
    },
  },
  "renaming is refused": { needsUsers: true, start: { refuseRename: true }, passes: false },
};

/** What is at the server under a final name is a study's zip; what the ledger calls exported is there; and what it says was sent is what is there. */
async function assertAgreement(place: UploadSite, folder: string, name: string): Promise<void> {
  const { ledger, dir, slug, pseudonyms } = place;
  const there = new Map<string, string>();
  for await (const entry of Deno.readDir(folder)) {
    if (!isPartName(entry.name)) there.set(entry.name, await sha256(await Deno.readFile(`${folder}/${entry.name}`)));
  }
  const sources = new Map<string, string>();
  for (const each of pseudonyms) {
    sources.set(`${each}.zip`, await sha256(await Deno.readFile(`${dir}/images/${each}.zip`)));
  }
  for (const [file, hash] of there) assertEquals(hash, sources.get(file), `${file} is wrong there`);
  for (const { path, sha256 } of await ledger.transfersTo(name, slug)) {
    assertEquals(sha256, there.get(path.slice(slug.length + 1)), `${path} is not what the ledger says`);
  }
  for (const { pseudo_study_uid: each, state } of await ledger.imagesOf(pseudonyms)) {
    assert(["done", "exported"].includes(state));
    if (state === "exported") assert(there.has(`${each}.zip`), `${each} is marked exported and not there`);
  }
}

async function nameOf(login: FtpsOptions): Promise<string> {
  await using destination = await FtpsDestination.open(login);
  return destination.name;
}

/** Counts, or nothing if the task ended with an error of the upload. */
async function attempt(
  ledger: Ledger,
  imageDir: string,
  login: FtpsOptions,
  projectSlug: string,
  at = 0,
  onThere: () => void = () => {},
): Promise<UploadResult | undefined> {
  const onProgress = ({ bytes: [done] }: { readonly bytes: readonly [number, number] }) => {
    if (done > ZIP_BYTES * at) onThere();
  };
  try {
    await using destination = await FtpsDestination.open(login);
    return await uploadImages(ledger, imageDir, destination, { projectSlug, onProgress });
  } catch (error) {
    if (error instanceof UploadError) return undefined;
    throw error;
  }
}

const SERVERS = [
  { name: "vsftpd", needs: ["vsftpd"], start: startVsftpd, hasUsers: true },
  { name: "proftpd", needs: ["proftpd"], start: startProftpd, hasUsers: true },
  { name: "our receiver", needs: [], start: startReceiver, hasUsers: false },
] as const;

for (const { name, needs, start, hasUsers } of SERVERS) {
  for (
    const [what, { start: options, needsUsers, before, login: wrong, strike, at = 0.5, passes = true }] of Object
      .entries(FAULTS)
  ) {
    if (needsUsers && !hasUsers) continue;
    // The embedded database has timers of its own.
    testWith(needs, `ledger and ${name} agree after: ${what}`, async () => {
      await using place = await site("fault", STUDIES, ZIP_BYTES);
      const { ledger, dir, slug } = place;
      await using server = await start({ mode: "explicit", ...options });
      await using proxy = new FtpsProxy(server);
      const folder = `${server.files}/${slug}`;
      await Deno.mkdir(folder, { mode: 0o755 });
      const { uid, gid } = await Deno.stat(server.files);
      const own = () => Deno.chown(folder, uid, gid);
      await own();
      // Logging in has that time too, and took proftpd more than a second on a busy machine.
      const timeoutMs = what.endsWith("stalls") ? 3_000 : 10_000;
      const login = { ...server, ...proxy.login, attempts: 1, timeoutMs, retryDelayMs: 10 };
      const destinationName = await nameOf(login);
      {
        await using _fault = await before?.(folder, own);
        let isStruck = false;
        const result = await attempt(ledger, `${dir}/images`, { ...login, ...wrong }, slug, at, () => {
          if (!isStruck) strike?.(proxy, server);
          isStruck = true;
        });
        // A strike may pass unseen: the file is tried again, last.
        assert(
          strike !== undefined ? isStruck : result === undefined || result.failed.length > 0,
          "nothing went wrong",
        );
        await assertAgreement(place, folder, destinationName);
      }
      if (!passes) return;
      const result = await attempt(ledger, `${dir}/images`, { ...login, attempts: 3 }, slug);
      assertEquals(result?.failed, []);
      await assertAgreement(place, folder, destinationName);
      const states = (await ledger.imagesOf(place.pseudonyms)).map(({ state }) => state);
      assertEquals(states, Array(STUDIES).fill("exported"));
    }, { restarts: true });
  }
}

for (const mode of ["implicit", "explicit"] as const) {
  for (const [program, start] of [["vsftpd", startVsftpd], ["proftpd", startProftpd]] as const) {
    testWith([program], `all zips go over the one connection for which ${program} has room, ${mode} TLS`, async () => {
      await using place = await site("narrow", 5, MB);
      const { ledger, dir, slug } = place;
      await using server = await start({ mode, maxConnections: 1 });
      await using pool = await FtpsPool.open({ ...server, connections: 2, pace: new Pace(4 * MB) });

      const result = await uploadImages(ledger, `${dir}/images`, pool, {
        projectSlug: slug,
        concurrency: 2,
        noRoomMs: 500,
      });

      assertEquals([result.sent, result.failed], [5, []]);
      await assertAgreement(place, `${server.files}/${slug}`, pool.name);
    }, { restarts: true });
  }
}
