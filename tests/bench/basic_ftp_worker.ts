import { Client } from "basic-ftp";
import { trustAuthority } from "../../src/upload/trust.ts";
import type { FtpsServer } from "../support/ftps.ts";

/** What one connection is to upload. */
export interface BareTask {
  readonly server: Pick<FtpsServer, "host" | "port" | "user" | "password" | "caPem">;
  /** Absolute, at the server. */
  readonly folder: string;
  readonly files: readonly (readonly [source: string, name: string])[];
}

const scope = globalThis as unknown as {
  onmessage(event: MessageEvent<BareTask>): Promise<void>;
  postMessage(done: true): void;
};

/** Run by upload.ts: one connection of basic-ftp as it is, straight to the final names: no sizes, no hashes, no rename, nothing looked at before. */
scope.onmessage = async ({ data: { server, folder, files } }) => {
  Error.stackTraceLimit = 0; // as in our own worker
  const { host, port, user, password, caPem } = server;
  trustAuthority(caPem);
  const client = new Client();
  const secureOptions = { host, port, minVersion: "TLSv1.2", maxVersion: "TLSv1.2" } as const;
  await client.access({ host, port, user, password, secure: true, secureOptions });
  await client.ensureDir(folder);
  for (const [source, name] of files) await client.uploadFrom(source, name);
  client.close();
  scope.postMessage(true);
};
