import { dirname, join } from "node:path";
import { normaliseTimestamp } from "../timestamp.ts";
import { diskProblem } from "./disk.ts";
import { ExportError, ExtractError, TableError } from "./errors.ts";
import { describeFile } from "./describe_file.ts";
import { copyFile } from "./copy_file.ts";
import { type ExportedFile, findEntries, findFiles, type FoundFile } from "./file_tree.ts";
import { hashFile } from "./hash_file.ts";
import { HashPool } from "./hash_pool.ts";
import { inParallel } from "./in_parallel.ts";
import { ALL_EXTRACTS } from "./latest_link.ts";
import { type Manifest, type ManifestFile, type ManifestProblem, readManifest, verifyExport } from "./manifest.ts";
import type { OmopExtract } from "./omop_extract.ts";
import { pointLatest } from "./point_latest.ts";
import { RADIOLOGY, type RadiologyRow } from "./radiology.ts";
import { readExtract } from "./replace_extract.ts";
import { slugify, timeSlug } from "./slug.ts";
import { type Part, Staging } from "./staging.ts";
import type { Row, TableSchema } from "./table_schema.ts";
import { TableWriter } from "./table_writer.ts";

/** Files that are copied at a time: while some wait for the disk, others are copied and hashed. */
const AT_ONCE = 4;

/** How far a copy is. */
export interface CopyProgress {
  /** The file at hand, as in {@linkcode ExportedFile}. */
  readonly path: string;
  /** Bytes copied so far, of all files. */
  readonly bytes: number;
  /** Bytes of all files. */
  readonly totalBytes: number;
}

/** How files are copied. */
export interface CopyOptions {
  /** Stops the copying, but for files that the system is about to copy: up to four at a time, which it finishes. */
  readonly signal?: AbortSignal;
  /** Is told of bytes that are there and hashed, after every few mebibytes. */
  readonly onProgress?: (progress: CopyProgress) => void;
  /** Is told of each file that is on the disk; the order is not that of the paths. */
  readonly onFile?: (file: ManifestFile) => void;
}

/** How an export is finished. */
export interface FinishOptions {
  /** Replace what was exported before, if it is different. @default {false} */
  readonly replace?: boolean;
  /** Stops the comparison; a folder that is being renamed is renamed. */
  readonly signal?: AbortSignal;
}

/** How {@linkcode ParquetExport.files} lists. */
export interface ListOptions {
  /** Reads them all for their hashes. @default {false} */
  readonly hash?: boolean;
  /** Ends it. */
  readonly signal?: AbortSignal;
}

/** A file that was exported, and where to read it now. */
export interface LocatedFile extends Omit<ExportedFile, "sha256"> {
  /** SHA-256 of its content, in hexadecimal, if that was asked for. */
  readonly sha256?: string;
  /** Its path. After a crash amid a replacement it is not below {@linkcode ParquetExport.dir}. */
  readonly source: string;
}

/** What finishing did. */
export interface FinishedExport {
  /** Everything was there already, with the same content; tables that another version of this package wrote count as the same. */
  readonly unchanged: boolean;
  /** `latest` is this extract; not so if it is a newer one. */
  readonly latest: boolean;
}

/**
 * The export of one extract:
 *
 * ```text
 * <exports>/<project>/latest → all_extracts/<time>
 * <exports>/<project>/all_extracts/<time>/omop/public/…
 * <exports>/<project>/all_extracts/<time>/radiology/radiology.parquet
 * <exports>/<project>/all_extracts/<time>/ehr/<name>.parquet            other tables
 * <exports>/<project>/all_extracts/<time>/manifest.json                 every file with size, hash, rows and columns
 * ```
 *
 * What is copied and written stands in a hidden folder until {@linkcode finish} renames it, so that nobody sees half of an extract. A crash leaves
 * that folder, which the next export of the project removes. One export of a project runs at a time.
 *
 * @example
 * ```ts ignore
 * await using parquetExport = new ParquetExport(extract.projectName, extract.extractTime, "/data/exports");
 * await parquetExport.copyOmop(extract);
 * await parquetExport.writeRadiology(reports);
 * await parquetExport.finish();
 * ```
 */
export class ParquetExport implements AsyncDisposable {
  /** The project's folder name. */
  readonly projectSlug: string;
  /** The extract's folder name. */
  readonly timeSlug: string;
  /** The extract's folder. */
  readonly dir: string;
  /** The project's link to its newest extract. */
  readonly latest: string;
  readonly #exportDir: string;
  readonly #extractTime: string;
  readonly #projectDir: string;
  #staging: Promise<Staging> | undefined;

  /**
   * Nothing is read or written yet.
   *
   * @param projectName The project's name or slug.
   * @param extractTime When the extract was made, ISO 8601.
   * @param exportDir The folder of all exports. It must be there.
   * @throws {InvalidSlugError} If no folder name can be made of them.
   */
  constructor(projectName: string, extractTime: string, exportDir: string) {
    this.projectSlug = slugify(projectName);
    this.timeSlug = timeSlug(extractTime);
    this.#exportDir = exportDir;
    this.#extractTime = normaliseTimestamp(extractTime) ?? extractTime;
    this.#projectDir = join(exportDir, this.projectSlug);
    this.dir = join(this.#projectDir, ALL_EXTRACTS, this.timeSlug);
    this.latest = join(this.#projectDir, "latest");
  }

  /**
   * Lists what {@linkcode copyOmop} would copy. Writes nothing.
   *
   * @param extract The extract.
   * @param options How to stop.
   * @returns The files, by their paths in the export.
   * @throws {ExportError} `special-file`.
   * @throws {ExtractError} `access-refused`.
   */
  async findOmop(
    extract: Pick<OmopExtract, "publicDir">,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<Pick<ExportedFile, "path" | "bytes">[]> {
    const found = await findPublic(extract, options);
    return found.map(({ path, bytes }) => ({ path: `omop/public/${path}`, bytes }));
  }

  /**
   * Copies the extract's `public/` folder.
   *
   * @param extract The extract.
   * @param options How to stop, and who is told.
   * @returns The files.
   * @throws {ExportError} `export-dir-refused`, `export-busy`, `special-file` or `write-failed`; `source-changed` if a file is being written.
   * @throws {ExtractError} Naming the file: `unreadable-parquet` if a parquet file has no footer that can be read, or `access-refused`.
   */
  async copyOmop(extract: Pick<OmopExtract, "publicDir">, options: CopyOptions = {}): Promise<ManifestFile[]> {
    const staging = await this.#stage();
    return await this.#onDisk(async () => {
      const source = extract.publicDir;
      const found = await findPublic(extract, options);
      const totalBytes = found.reduce((sum, file) => sum + file.bytes, 0);
      await staging.begin("omop");
      const to = (path: string) => join(staging.dir, "omop", "public", path);
      for (const { path } of found) await Deno.mkdir(dirname(to(path)), { recursive: true, mode: 0o700 });
      using pool = new HashPool();
      let bytes = 0;
      const files = await inParallel(found, AT_ONCE, async (file, signal) => {
        const path = `omop/public/${file.path}`;
        const onBytes = (count: number) => options.onProgress?.({ path, bytes: bytes += count, totalBytes });
        const hash = pool.hash.bind(pool);
        const copied = await copyFile(join(source, file.path), to(file.path), { signal, onBytes, hash });
        const made = { path, ...copied, ...await describeFile(to(file.path), join(source, file.path)) };
        options.onFile?.(made);
        return made;
      }, options);
      staging.complete("omop", files);
      return files;
    });
  }

  /**
   * Writes the radiology reports.
   *
   * @param rows The reports.
   * @param options How to stop.
   * @returns The file.
   * @throws {ExportError} `export-dir-refused` or `export-busy`.
   * @throws {TableError} If a row is wrong or the disk is full.
   */
  async writeRadiology(
    rows: Iterable<RadiologyRow> | AsyncIterable<RadiologyRow>,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<ManifestFile & { readonly rows: number }> {
    const staging = await this.#stage();
    await this.#onDisk(() => staging.begin("radiology"));
    return await this.#write(staging, "radiology", "radiology/radiology.parquet", RADIOLOGY, rows, options);
  }

  /**
   * Writes another table of the record system, such as one of EMAP, to `ehr/<name>.parquet`.
   *
   * @param name Its name: letters, digits, `-` and `_`.
   * @param schema The columns.
   * @param rows The rows.
   * @param options How to stop.
   * @returns The file.
   * @throws {ExportError} `export-dir-refused` or `export-busy`.
   * @throws {TableError} If the name or a row is wrong, or the disk is full.
   */
  async writeTable<const S extends TableSchema>(
    name: string,
    schema: S,
    rows: Iterable<Row<NoInfer<S>>> | AsyncIterable<Row<NoInfer<S>>>,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<ManifestFile & { readonly rows: number }> {
    if (!/^[A-Za-z0-9_-]{1,100}$/.test(name)) {
      throw new TableError("bad-schema", `Cannot write a table named '${name}': use letters, digits, '-' and '_'`);
    }
    const staging = await this.#stage();
    const part = `ehr/${name}.parquet` as const;
    await this.#onDisk(() => staging.begin(part));
    return await this.#write(staging, part, part, schema, rows, options);
  }

  async #write<const S extends TableSchema>(
    staging: Staging,
    part: Part,
    path: string,
    schema: S,
    rows: Iterable<Row<NoInfer<S>>> | AsyncIterable<Row<NoInfer<S>>>,
    options: { readonly signal?: AbortSignal },
  ): Promise<ManifestFile & { readonly rows: number }> {
    const target = join(staging.dir, path);
    const metadata = { "pixl.project": this.projectSlug, "pixl.extract_time": this.#extractTime };
    await using writer = await TableWriter.open(target, schema, { ...options, metadata });
    await writer.write(rows);
    const written = await writer.finish();
    const file = { path, ...written, schema: (await describeFile(target)).schema };
    staging.complete(part, [file]);
    return file;
  }

  /**
   * Makes what was copied and written visible, as a whole, and points `latest` at it. What was exported of this extract before stays if this run
   * did not make it anew.
   *
   * @param options Whether to replace.
   * @returns What was done.
   * @throws {ExportError} `exists-different`: the same extract was exported with other content. Nothing is changed; it may be called again.
   * @throws {ExportError} `latest-not-a-link` or `write-failed`.
   */
  async finish(options: FinishOptions = {}): Promise<FinishedExport> {
    const staging = await this.#stage();
    const done = await this.#onDisk(async () => {
      const unchanged = !await staging.publish(options);
      return { unchanged, latest: await pointLatest(this.#projectDir, this.#extractTime) };
    });
    await this[Symbol.asyncDispose]();
    return done;
  }

  /**
   * Lists the files that were exported, for the upload: those that the manifest names, or the parquet files where there is none that can be read. Links,
   * and what others put there, are left out.
   *
   * @param options Whether to hash them, and how to stop.
   * @returns The files, in the order of their paths: of one export, if another one replaces it meanwhile.
   * @throws {ExportError} `not-exported`.
   */
  async files({ hash = false, ...options }: ListOptions = {}): Promise<LocatedFile[]> {
    return await this.#onDisk(() =>
      readExtract(this.dir, async (folder) => {
        const found = await findEntries(folder, options).catch((cause) => {
          if (!(cause instanceof Deno.errors.NotFound)) throw cause;
          throw new ExportError("not-exported", `Cannot find '${this.dir}': export the extract first`, { cause });
        });
        const named = await namedBy(folder);
        const files: LocatedFile[] = [];
        for (const file of found) {
          // A link or a pipe that others put there is kept, and goes nowhere.
          if (file.isSpecial || !(named?.has(file.path) ?? /\.parquet$/i.test(file.path))) continue;
          const { path, bytes } = file;
          const source = join(folder, path);
          files.push({ path, bytes, source, ...(hash ? { sha256: await hashFile(source, options) } : {}) });
        }
        return files;
      })
    );
  }

  /**
   * Compares an export with its manifest: reads and hashes every file; all of them again if another export replaces it meanwhile.
   *
   * @param dir The extract's folder, or the project's `latest`.
   * @param options How to stop, and who is told after each file.
   * @returns The manifest, and every file that is not as it says.
   * @throws {ExportError} `not-exported` if there is no manifest, `manifest-invalid` if it is not one, or `export-dir-refused`.
   */
  static async verify(
    dir: string,
    options: { readonly signal?: AbortSignal; readonly onFile?: (path: string) => void } = {},
  ): Promise<{ readonly manifest: Manifest; readonly problems: readonly ManifestProblem[] }> {
    return await verifyExport(dir, options);
  }

  /** Removes what was not finished and lets others export the project. */
  async [Symbol.asyncDispose](): Promise<void> {
    const staging = this.#staging;
    this.#staging = undefined;
    // Where it could not be opened, that was reported when it failed.
    await staging?.then((open) => open[Symbol.asyncDispose](), () => {});
  }

  #stage(): Promise<Staging> {
    this.#staging ??= Staging.open(this.#exportDir, this.#projectDir, this.#extractTime).catch((error) => {
      this.#staging = undefined;
      throw error;
    });
    return this.#staging;
  }

  async #onDisk<T>(action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (cause) {
      const problem = diskProblem(cause);
      if (problem === undefined) throw cause;
      if (problem.reason === "refused") {
        throw new ExportError(
          "export-dir-refused",
          `Cannot write below '${this.#projectDir}': give this user, and Deno, write access`,
          { cause },
        );
      }
      throw new ExportError(
        "write-failed",
        `Cannot write below '${this.#projectDir}' (${problem.code}): check the disk, then try again`,
        {
          cause,
        },
      );
    }
  }
}

async function findPublic(
  { publicDir }: Pick<OmopExtract, "publicDir">,
  options: { readonly signal?: AbortSignal },
): Promise<FoundFile[]> {
  return await findFiles(publicDir, options).catch((cause) => {
    const problem = diskProblem(cause);
    if (problem === undefined) throw cause;
    const message = `Cannot list '${publicDir}' (${problem.code}): give this user, and Deno, read access`;
    throw new ExtractError("access-refused", message, { cause });
  });
}

/** Paths that the manifest of an export names; `undefined` if there is no manifest that can be read. */
async function namedBy(dir: string): Promise<ReadonlySet<string> | undefined> {
  try {
    return new Set((await readManifest(dir)).files.map(({ path }) => path));
  } catch (error) {
    if (error instanceof ExportError) return undefined;
    throw error;
  }
}
