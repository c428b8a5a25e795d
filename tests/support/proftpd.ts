import { type FtpsServer, type FtpsServerOptions, passivePorts, runServer, serverFolder } from "./ftps.ts";
import { freePort } from "./ports.ts";
import { pathOf } from "./programs.ts";
import { sharedPki } from "./pki.ts";

const NOBODY = 65_534;

/**
 * Starts a proftpd of one's own (20 to 60 ms), as root. It is strict about TLS session reuse and offers hashes.
 *
 * @throws If it is not installed.
 */
export async function startProftpd(
  { mode, reuse = true, pki = sharedPki(), refuseRename = false, digest, maxConnections, tls = "TLSv1.2 TLSv1.3" }:
    FtpsServerOptions,
): Promise<FtpsServer> {
  const program = pathOf("proftpd");
  const { dir, certificate } = await serverFolder("proftpd", pki);
  const [port, [firstPassive, lastPassive]] = [freePort(), passivePorts()];
  const [user, password] = ["dsh", `PWSEED-${crypto.randomUUID()}`];
  const files = `${dir}/files`;
  await Deno.mkdir(files);
  await Deno.chown(files, NOBODY, NOBODY);
  const hash = await new Deno.Command("openssl", { args: ["passwd", "-6", password] }).output();
  await Deno.writeTextFile(
    `${dir}/passwd`,
    `${user}:${new TextDecoder().decode(hash.stdout).trim()}:${NOBODY}:${NOBODY}::${files}:/bin/false\n`,
    { mode: 0o600 },
  );
  const options = [mode === "implicit" ? "UseImplicitSSL" : "", reuse ? "" : "NoSessionReuseRequired", "EnableDiags"];
  const log = `${dir}/server.log`;
  await Deno.writeTextFile(
    `${dir}/proftpd.conf`,
    `ModulePath /usr/lib/proftpd
LoadModule mod_tls.c
LoadModule mod_digest.c
ServerName "test"
ServerType standalone
DefaultServer on
UseReverseDNS off
DefaultAddress 127.0.0.1
SocketBindTight on
Port ${port}
PassivePorts ${firstPassive} ${lastPassive}
User nobody
Group nogroup
PidFile ${dir}/pid
ScoreboardFile ${maxConnections === undefined ? "none" : `${dir}/scoreboard\nMaxClientsPerHost ${maxConnections}`}
DelayEngine off
WtmpLog off
SystemLog ${log}
TransferLog none
AuthOrder mod_auth_file.c
AuthUserFile ${dir}/passwd
RequireValidShell off
DefaultRoot ~
AllowOverwrite on
AllowStoreRestart on
HiddenStores off
MaxInstances 100
TimeoutLinger 5
DigestEngine on
${digest ? `DigestAlgorithms ${digest}\nDigestOptions NoTransferCache\n` : ""}TLSEngine on
TLSRequired on
TLSLog ${dir}/tls.log
TLSProtocol ${tls}
TLSECCertificateFile ${certificate}
TLSECCertificateKeyFile ${certificate}
TLSVerifyClient off
TLSRenegotiate none
TLSOptions ${options.join(" ").trim()}
${refuseRename ? "<Limit RNTO>\n  DenyAll\n</Limit>\n" : ""}`,
  );
  const process = await runServer([program, "--nodaemon", "-q", "-c", `${dir}/proftpd.conf`], port, dir);
  return {
    program: "proftpd",
    mode,
    host: "localhost",
    port,
    passive: [firstPassive, lastPassive],
    user,
    password,
    caPem: pki.caPem,
    files,
    basePath: "/",
    log,
    killSessions: process.killSessions,
    signalSessions: process.signalSessions,
    kill: process.kill,
    revive: process.revive,
    async [Symbol.asyncDispose]() {
      await process[Symbol.asyncDispose]();
      await Deno.remove(dir, { recursive: true });
    },
  };
}
