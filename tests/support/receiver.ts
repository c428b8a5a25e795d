import { FtpsReceiver } from "../../src/demo/ftps_receiver/mod.ts";
import { type FtpsServer, type FtpsServerOptions, passivePorts } from "./ftps.ts";
import { sharedPki } from "./pki.ts";

/** Starts the project's own receiver on a temporary folder. */
export async function startReceiver({ mode, reuse = true, pki = sharedPki() }: FtpsServerOptions): Promise<FtpsServer> {
  const files = await Deno.makeTempDir({ prefix: "pixl-receiver-" });
  const [user, password] = ["dsh", `PWSEED-${crypto.randomUUID()}`];
  const { certPem, keyPem, caPem } = pki;
  const passive = passivePorts();
  const receiver = await FtpsReceiver.listen({
    root: files,
    user,
    password,
    certPem,
    keyPem,
    mode,
    requireReuse: reuse,
    passivePorts: passive,
  });
  return {
    program: "receiver",
    mode,
    host: "localhost",
    port: receiver.port,
    passive,
    user,
    password,
    caPem,
    files,
    basePath: "/",
    log: "",
    async [Symbol.asyncDispose]() {
      await receiver[Symbol.asyncDispose]();
      await Deno.remove(files, { recursive: true });
    },
  };
}
