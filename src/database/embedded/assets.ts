/** The three files that PGlite needs beside its code, about 16 MB. */
export interface EmbeddedAssets {
  /** `pglite.data`: the files of a PostgreSQL installation. */
  readonly data: Uint8Array<ArrayBuffer>;
  /** `pglite.wasm`: the server. */
  readonly wasm: Uint8Array<ArrayBuffer>;
  /** `initdb.wasm`: makes a new database. */
  readonly initdb: Uint8Array<ArrayBuffer>;
}

/**
 * Loads the files out of the npm package as modules, which needs no read permission.
 *
 * The names are put together at run time on purpose: a bundler that sees them writes 16 MB of base64 into the bundle and decodes it for 40 seconds at
 * every start. A bundle passes {@linkcode EmbeddedAssets} instead.
 *
 * @returns `undefined` where modules of bytes are not supported (`unstable: ["raw-imports"]` in deno.json): then PGlite reads its files itself.
 */
export async function packagedAssets(): Promise<EmbeddedAssets | undefined> {
  try {
    const base = import.meta.resolve("@electric-sql/pglite");
    const [data, wasm, initdb] = await Promise.all(
      ["pglite.data", "pglite.wasm", "initdb.wasm"].map(async (name) => {
        const module: unknown = await import(new URL(name, base).href, { with: { type: "bytes" } });
        return bytesOf(module);
      }),
    );
    return data && wasm && initdb ? { data, wasm, initdb } : undefined;
  } catch {
    return undefined;
  }
}

function bytesOf(module: unknown): Uint8Array<ArrayBuffer> | undefined {
  const bytes = typeof module === "object" && module !== null && "default" in module ? module.default : undefined;
  return bytes instanceof Uint8Array && bytes.buffer instanceof ArrayBuffer
    ? bytes as Uint8Array<ArrayBuffer>
    : undefined;
}
