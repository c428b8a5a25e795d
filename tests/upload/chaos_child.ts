import { Ledger, openDatabase, type PostgresOptions } from "../../src/database/mod.ts";
import { uploadImages } from "../../src/pipeline/upload_images.ts";
import { FtpsPool, type FtpsPoolOptions } from "../../src/upload/mod.ts";

/** What the parent tells its uploader. */
export interface ChaosTask {
  readonly database: PostgresOptions & { readonly kind: "postgres" };
  readonly ftps: FtpsPoolOptions;
  readonly imageDir: string;
}

if (import.meta.main) {
  const { database, ftps, imageDir }: ChaosTask = JSON.parse(Deno.args[0] ?? "");
  await using open = await openDatabase(database);
  await using destination = await FtpsPool.open(ftps);
  let begun: Promise<number> | undefined;
  const begin = () => begun ??= Deno.stdout.write(new TextEncoder().encode("begun\n"));
  const { failed } = await uploadImages(new Ledger(open), imageDir, destination, {
    concurrency: ftps.connections ?? 4,
    leaseMs: 2_000,
    onProgress: () => void begin(),
  });
  if (failed.length > 0) Deno.exit(6);
}
