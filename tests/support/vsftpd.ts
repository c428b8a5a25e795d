import { type FtpsServer, type FtpsServerOptions, passivePorts, runServer, serverFolder } from "./ftps.ts";
import { freePort } from "./ports.ts";
import { pathOf } from "./programs.ts";
import { sharedPki } from "./pki.ts";

/** Users that every Debian has. */
const DAEMON = 1;

/**
 * Starts a vsftpd of one's own (8 to 20 ms), as root. It is strict about TLS session reuse and offers no hashes.
 *
 * @throws If it is not installed.
 */
export async function startVsftpd(
  { mode, reuse = true, pki = sharedPki(), refuseRename = false, maxConnections = 0, processor, parent }:
    FtpsServerOptions,
): Promise<FtpsServer> {
  const program = pathOf("vsftpd");
  const { dir, certificate } = await serverFolder("vsftpd", pki, parent);
  const [port, [firstPassive, lastPassive]] = [freePort(), passivePorts()];
  const password = `PWSEED-${crypto.randomUUID()}`;
  // It refuses to serve a root folder that can be written, so the user's folder lies below.
  const files = `${dir}/root/dsh`;
  await Deno.mkdir(files, { recursive: true });
  await Deno.chown(files, DAEMON, DAEMON);
  await Deno.mkdir(`${dir}/empty`, { mode: 0o555 });
  await Deno.writeTextFile(`${dir}/passwords`, `${password}\n`);
  const log = `${dir}/server.log`;
  await Deno.writeTextFile(
    `${dir}/vsftpd.conf`,
    `listen=YES
background=NO
listen_address=127.0.0.1
listen_port=${port}
anonymous_enable=YES
local_enable=NO
ftp_username=daemon
nopriv_user=daemon
secure_email_list_enable=YES
email_password_file=${dir}/passwords
anon_root=${dir}/root
secure_chroot_dir=${dir}/empty
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=077
file_open_mode=0600
pasv_enable=YES
pasv_address=127.0.0.1
pasv_min_port=${firstPassive}
pasv_max_port=${lastPassive}
ssl_enable=YES
implicit_ssl=${mode === "implicit" ? "YES" : "NO"}
allow_anon_ssl=YES
force_anon_logins_ssl=YES
force_anon_data_ssl=YES
require_ssl_reuse=${reuse ? "YES" : "NO"}
ssl_tlsv1=YES
rsa_cert_file=${certificate}
rsa_private_key_file=${certificate}
ssl_ciphers=HIGH
strict_ssl_read_eof=NO
strict_ssl_write_shutdown=NO
xferlog_enable=YES
log_ftp_protocol=YES
vsftpd_log_file=${log}
max_per_ip=${maxConnections}
max_clients=0
tcp_wrappers=NO
seccomp_sandbox=NO
delay_failed_login=0
${refuseRename ? "cmds_denied=RNTO\n" : ""}`,
  );
  const bound = processor === undefined ? [] : ["taskset", "--cpu-list", String(processor)];
  const process = await runServer([...bound, program, `${dir}/vsftpd.conf`], port, dir);
  return {
    program: "vsftpd",
    mode,
    host: "localhost",
    port,
    passive: [firstPassive, lastPassive],
    user: "ftp",
    password,
    caPem: pki.caPem,
    files,
    basePath: "/dsh",
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
