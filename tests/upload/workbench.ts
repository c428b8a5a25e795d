import { assertEquals, assertRejects } from "@std/assert";
import {
  type Destination,
  DirectoryDestination,
  FtpsDestination,
  type FtpsOptions,
  FtpsPool,
  isPartName,
  Pace,
  UploadError,
  type UploadErrorCode,
} from "../../src/upload/mod.ts";
import type { FtpsServer } from "../support/ftps.ts";
import type { Bench } from "./destination_conformance.ts";

/** A folder for local files, and what is at the destination in another. */
abstract class LocalBench implements Bench {
  abstract readonly files: string;
  abstract readonly basePath: string;
  readonly dir: string;
  #files = 0;

  constructor(dir: string) {
    this.dir = dir;
  }

  abstract open(): Promise<Destination>;

  async file(content: number | Uint8Array): Promise<string> {
    const path = `${this.dir}/${this.#files++}.bin`;
    await Deno.writeFile(path, typeof content === "number" ? randomBytes(content) : content);
    return path;
  }

  async received(path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return await Deno.readFile(`${this.files}/${path}`).catch(() => undefined);
  }

  async plant(path: string, content: Uint8Array): Promise<void> {
    const { uid, gid } = await Deno.stat(this.files);
    await Deno.writeFile(`${this.files}/${path}`, content, { mode: 0o600 });
    await Deno.chown(`${this.files}/${path}`, uid, gid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.dir, { recursive: true });
  }
}

/** An FTPS server, and one connection to it or several. */
export class Workbench extends LocalBench {
  readonly files: string;
  readonly basePath: string;
  readonly #connections: number | undefined;

  private constructor(readonly server: FtpsServer, dir: string, connections: number | undefined) {
    super(dir);
    this.files = server.files;
    this.basePath = server.basePath === "/" ? "" : server.basePath;
    this.#connections = connections;
  }

  /** @param options `connections`: for a pool. */
  static async on(server: FtpsServer, { connections }: { readonly connections?: number } = {}): Promise<Workbench> {
    return new Workbench(server, await Deno.makeTempDir({ prefix: "pixl-upload-" }), connections);
  }

  /** A destination that gives up sooner than in real life. */
  async open(options: Partial<FtpsOptions> = {}): Promise<Destination> {
    const { host, port, user, password, mode, caPem, basePath } = this.server;
    const login = { host, port, user, password, mode, caPem, basePath, timeoutMs: 5_000, retryDelayMs: 50, ...options };
    if (this.#connections === undefined) return await FtpsDestination.open(login);
    // A pool hears of progress a little later; at this pace no file is through by then.
    return await FtpsPool.open({ pace: new Pace(32_000_000), ...login, connections: this.#connections });
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    await super[Symbol.asyncDispose]();
  }
}

/** A folder that stands for a mounted share. */
export class FolderBench extends LocalBench {
  readonly basePath = "";

  static async make(): Promise<FolderBench> {
    const bench = new FolderBench(await Deno.makeTempDir({ prefix: "pixl-upload-" }));
    await Deno.mkdir(bench.files);
    return bench;
  }

  get files(): string {
    return `${this.dir}/share`;
  }

  async open(): Promise<Destination> {
    return await DirectoryDestination.open(this.files);
  }
}

export function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** Local paths of the unfinished files in a folder. */
export function partsIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].filter(({ name }) => isPartName(name)).map(({ name }) => `${folder}/${name}`);
}

/** The only one. */
export function partIn(folder: string): string {
  const [part, ...others] = partsIn(folder);
  if (part === undefined || others.length > 0) throw new Error(`Not one unfinished file in '${folder}': ${others}`);
  return part;
}

/** Compares files by size and hash: a list of the differences of two large ones would take minutes. */
export async function assertSameBytes(
  actual: Uint8Array<ArrayBuffer> | undefined,
  expected: Uint8Array<ArrayBuffer>,
): Promise<void> {
  assertEquals(actual?.length, expected.length);
  assertEquals(await sha256(actual ?? new Uint8Array()), await sha256(expected));
}

/** Expects an upload to fail with that code. */
export async function assertFails(code: UploadErrorCode, run: () => Promise<unknown>): Promise<UploadError> {
  const error = await assertRejects(async () => void await run(), UploadError);
  if (error.code !== code) throw new Error(`Expected '${code}', got '${error.code}'`, { cause: error });
  return error;
}
