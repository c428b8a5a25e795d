import { join } from "node:path";
import type { Ledger } from "../database/mod.ts";
import type { ParquetExport } from "../exports/mod.ts";
import {
  type Destination,
  type DicomTags,
  encodeTags,
  type PutOptions,
  type Receipt,
  UploadError,
} from "../upload/mod.ts";
import { asFolderError } from "../upload/directory_errors.ts";
import { sendFile } from "./send_file.ts";
import { uploadOneExport } from "./upload_parquet.ts";
import type { UploadResult } from "./upload_result.ts";
import { assertWholeZip } from "./zips.ts";

/** How one thing is uploaded. */
export type UploadOptions = Pick<PutOptions, "signal" | "onProgress" | "replace">;

/** Sends single studies and exports to a destination, and keeps the ledger in agreement with it: for services that have one in hand. */
export class Uploader {
  readonly #ledger: Ledger;
  readonly #destination: Destination;
  readonly #spoolDir: string | undefined;

  /**
   * Nothing is opened.
   *
   * @param ledger Knows the studies. The caller closes it.
   * @param destination Where to. The caller closes it.
   * @param options `spoolDir`: where streams and tags wait until they are there. @default The system's temporary folder.
   */
  constructor(ledger: Ledger, destination: Destination, options: { readonly spoolDir?: string } = {}) {
    this.#ledger = ledger;
    this.#destination = destination;
    this.#spoolDir = options.spoolDir;
  }

  /**
   * Sends a study's zip as `<project>/<pseudonym>.zip` and notes in the ledger that it has left.
   *
   * @param source Path, or a stream. A stream is kept in a file (readable by this user only) meanwhile, since a transfer may have to begin again.
   * @param pseudonym The study's; the ledger must say that it is done.
   * @param project The project's slug.
   * @param options Signal, progress, replacement.
   * @throws {UploadError} `not-found` if the ledger has no such study that is done, `source-changed` if the zip has no end, else what the destination says.
   */
  async uploadImage(
    source: string | ReadableStream<Uint8Array>,
    pseudonym: string,
    project: string,
    options: UploadOptions = {},
  ): Promise<Receipt> {
    const imageId = await this.#imageOf(pseudonym, project, options).catch(async (error) => {
      await cancel(source, error);
      throw error;
    });
    return await this.#spooled(source, options, async (path) => {
      await assertWholeZip({ source: path, bytes: await sizeOf(path) });
      return await sendFile(this.#ledger, this.#destination, {
        source: path,
        path: `${project}/${pseudonym}.zip`,
        record: (transfer) => this.#ledger.recordImageExported({ ...transfer, imageId }),
      }, options);
    });
  }

  /**
   * Sends a study's tags as a DICOM JSON Model file `<project>/<pseudonym>.json`, beside its zip; see {@linkcode encodeTags}.
   *
   * @throws {UploadError} `not-found` if the ledger has no such study that is done, `identifying-tags` if one of them may identify a person.
   */
  async uploadTags(
    tags: DicomTags | readonly DicomTags[],
    pseudonym: string,
    project: string,
    options: UploadOptions = {},
  ): Promise<Receipt> {
    const text = encodeTags(tags, pseudonym);
    await this.#imageOf(pseudonym, project, options);
    return await this.#spooled(new Blob([text]).stream(), options, async (file) => {
      return await sendFile(this.#ledger, this.#destination, {
        source: file,
        path: `${project}/${pseudonym}.json`,
        record: (transfer) => this.#ledger.recordTransfer(transfer),
      }, options);
    });
  }

  /**
   * Sends an export as `<project>/<time>/parquet/**`, and last of all its `manifest.json`.
   *
   * @param parquetExport Finished.
   * @param options As for the others; `onProgress` is told the bytes of all files; `concurrency`: files at once.
   * @returns Counts, with a reason for every file that could not be sent.
   * @throws {ExportError} `not-exported` if it is not whole.
   * @throws {UploadError} If the destination is out of reach or refuses us.
   */
  async uploadExport(
    parquetExport: ParquetExport,
    options: UploadOptions & { readonly concurrency?: number } = {},
  ): Promise<UploadResult> {
    const { onProgress, ...rest } = options;
    let most = 0; // an attempt may begin anew
    return await uploadOneExport(this.#ledger, parquetExport, this.#destination, {
      ...rest,
      ...(onProgress && { onProgress: ({ bytes: [done] }) => onProgress(most = Math.max(most, done)) }),
    });
  }

  /** The image of that pseudonym, if it is done. */
  async #imageOf(pseudonym: string, project: string, { signal }: UploadOptions): Promise<number> {
    if (/[/\\]/.test(project + pseudonym)) {
      throw new UploadError("invalid-name", "Cannot upload a study whose project or pseudonym holds '/' or '\\'");
    }
    const known = await this.#ledger.imagesOf([pseudonym], signal && { signal });
    const image = known.find(({ projectSlug, state }) =>
      projectSlug === project && (state === "done" || state === "exported")
    );
    if (image !== undefined) return image.imageId;
    throw new UploadError(
      "not-found",
      `Cannot upload a study of '${project}': the ledger has none with this pseudonym that is done`,
    );
  }

  async #spooled<T>(
    source: string | ReadableStream<Uint8Array>,
    { signal }: UploadOptions,
    send: (path: string) => Promise<T>,
  ): Promise<T> {
    if (typeof source === "string") return await send(source);
    const keeping = `keep what is to be sent in ${
      this.#spoolDir === undefined ? "the temporary folder" : `'${this.#spoolDir}'`
    }`;
    const spool = this.#spoolDir === undefined ? {} : { dir: this.#spoolDir };
    const dir = await Deno.makeTempDir({ prefix: "pixl-", ...spool }).catch(async (cause) => {
      const error = asFolderError(cause, keeping);
      await cancel(source, error);
      throw error;
    });
    try {
      const path = join(dir, "source");
      const writing = Deno.writeFile(path, source, { createNew: true, mode: 0o600, ...(signal && { signal }) });
      await writing.catch(async (cause) => {
        await cancel(source, cause);
        throw isOutOfSpace(cause) ? asFolderError(cause, keeping) : cause; // it may be the stream's own
      });
      return await send(path);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  }
}

/** Or what feeds a stream would wait for ever. */
async function cancel(source: string | ReadableStream<Uint8Array>, reason: unknown): Promise<void> {
  if (typeof source !== "string") await source.cancel(reason).catch(() => {});
}

function isOutOfSpace(cause: unknown): boolean {
  return cause instanceof Error && "code" in cause && (cause.code === "ENOSPC" || cause.code === "EDQUOT");
}

async function sizeOf(path: string): Promise<number> {
  const { size } = await Deno.stat(path).catch((cause) => {
    const message = `Cannot upload '${path}': check that it is there and may be read`;
    throw new UploadError("source-missing", message, { cause });
  });
  return size;
}
