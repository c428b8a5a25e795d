import { assertEquals, assertRejects } from "@std/assert";
import { FtpsDestination, type FtpsOptions, UploadError, type UploadErrorCode } from "../../src/upload/mod.ts";
import type { FtpsServer } from "../support/ftps.ts";

/** A server, a folder for local files, and short ways to use both. */
export class Workbench implements AsyncDisposable {
  readonly #dir: string;
  #files = 0;

  private constructor(readonly server: FtpsServer, dir: string) {
    this.#dir = dir;
  }

  static async on(server: FtpsServer): Promise<Workbench> {
    return new Workbench(server, await Deno.makeTempDir({ prefix: "pixl-upload-" }));
  }

  /** A destination that gives up sooner than in real life. */
  open(options: Partial<FtpsOptions> = {}): Promise<FtpsDestination> {
    return FtpsDestination.open({ ...this.server, timeoutMs: 5_000, retryDelayMs: 50, ...options });
  }

  /** Writes a local file of random content, or of the given one. */
  async file(content: number | Uint8Array): Promise<string> {
    const path = `${this.#dir}/${this.#files++}.bin`;
    await Deno.writeFile(path, typeof content === "number" ? randomBytes(content) : content);
    return path;
  }

  /** What the server has under that path, `undefined` if nothing. */
  async received(path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return await Deno.readFile(`${this.server.files}/${path}`).catch(() => undefined);
  }

  /** Puts a file there without the uploader, as the server's own user. */
  async plant(path: string, content: Uint8Array): Promise<void> {
    const { uid, gid } = await Deno.stat(this.server.files);
    await Deno.writeFile(`${this.server.files}/${path}`, content, { mode: 0o600 });
    await Deno.chown(`${this.server.files}/${path}`, uid, gid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    await Deno.remove(this.#dir, { recursive: true });
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
