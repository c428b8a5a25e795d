import { FTPError } from "basic-ftp";
import { PixlError } from "../errors.ts";
import { UploadError, type UploadErrorCode } from "./errors.ts";

/** FTP replies (RFC 959 section 4.2, RFC 4217, RFC 2228) that have one meaning here; all others are `protocol`. */
const REPLIES: ReadonlyMap<number, UploadErrorCode> = new Map([
  [332, "login-refused"],
  [421, "interrupted"],
  [425, "interrupted"],
  [426, "interrupted"],
  [430, "login-refused"],
  [450, "interrupted"],
  [451, "interrupted"],
  [452, "no-space"],
  [530, "login-refused"],
  [532, "permission-denied"],
  [550, "permission-denied"],
  [551, "permission-denied"],
  [552, "no-space"],
  [553, "permission-denied"],
]);

/** What Node, Deno, OpenSSL, rustls and basic-ftp say, as `CODE message`; the first that fits counts. */
const TEXTS: readonly (readonly [RegExp, UploadErrorCode])[] = [
  [/CERT|ALTNAME|UNABLE_TO_(VERIFY|GET)|SELF_SIGNED/, "untrusted-certificate"],
  [/WRONG_VERSION_NUMBER|ALERT_PROTOCOL_VERSION/, "protocol"],
  [/ECONNREFUSED|ENOTFOUND|EAI_|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|EHOSTDOWN|ENETDOWN/, "unreachable"],
  [/^Timeout|ETIMEDOUT|TimeoutError|'Error: Timeout/, "timeout"],
  [/reuse|ERR_STREAM_PREMATURE_CLOSE/, "session-reuse"],
  [/PASV returned another host|Can't parse response|Unexpected FTP response|exceeded maximum/, "protocol"],
  [/FTPError: 5/, "protocol"],
];

/** Deno's name for a permission that it was not given. */
const NOT_CAPABLE = "NotCapable";

/** Where it differs from what the code says. Text in place of TLS is the wrong mode, or a server process that cries out while it dies. */
const RETRYABLE: ReadonlyMap<string, boolean> = new Map([[NOT_CAPABLE, false], ["ERR_SSL_WRONG_VERSION_NUMBER", true]]);

/** Where the detail says more than the code. */
const REMEDY_OF_DETAIL: Readonly<Record<string, string>> = {
  [NOT_CAPABLE]: "start the program with --allow-net for the server's name, port and address",
  "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION":
    "let the server speak TLS 1.2: data connections could not resume a session of TLS 1.3",
  "ERR_TLS_CERT_ALTNAME_INVALID":
    "the certificate is for another name: connect by a name that is in it, or give that one as the server's name (servername, FTP_SERVER_NAME)",
};

const REMEDY: Readonly<Record<UploadErrorCode, string>> = {
  "unreachable": "check the host, the port and the firewall",
  "untrusted-certificate":
    "give the certificate of the authority that signed the server's (caPem, FTP_CA_FILE); it must not have expired",
  "authority-conflict": "use one authority in a process",
  "login-refused": "check the user name and the password",
  "permission-denied": "let the user write, rename and delete in this folder, and see that no file is in the way",
  "no-space": "make room at the destination",
  "session-reuse":
    "try again; if it stays, the server and this program do not agree on TLS session reuse for data connections",
  "interrupted": "try again",
  "timeout": "try again; if it stays, check that the firewall lets the server's passive ports through",
  "verification-failed": "try again",
  "exists-different": "remove the other file, or ask to replace it",
  "not-found": "check the name",
  "invalid-name": "choose another name",
  "identifying-tags": "take these tags out",
  "invalid-tags": "give tags in the DICOM JSON Model",
  "source-changed": "upload the file once it is complete",
  "source-missing": "check that the file is there and may be read",
  "protocol":
    "check the port and the mode (implicit or explicit TLS); the server must offer FTP over TLS with SIZE and passive mode",
};

/**
 * Says what a failure of the FTP client means.
 *
 * @param cause What was thrown.
 * @param doing What was being done, as in `upload 'a/b.zip' to host:990`.
 * @returns The cause itself where it is one of this package's errors already. What the server said stays in `cause`.
 */
export function asUploadError(cause: unknown, doing: string): PixlError {
  if (cause instanceof PixlError) return cause;
  const [code, detail] = cause instanceof FTPError ? meaningOfReply(cause) : meaningOfText(cause);
  const remedy = REMEDY_OF_DETAIL[detail] ?? REMEDY[code];
  const retryable = RETRYABLE.get(detail);
  return new UploadError(code, `Cannot ${doing} (${detail}): ${remedy}`, {
    cause,
    ...(retryable === undefined ? {} : { retryable }),
  });
}

function meaningOfReply(reply: FTPError): [UploadErrorCode, string] {
  // vsftpd says 522, proftpd 425 with the text of EPERM, when a data connection does not resume the control connection's session. 522 is also what RFC
  // 4217 has for TLS that fails for another reason, such as a connection that is cut.
  const reuse = reply.code === 522 && /TLS|SSL/i.test(reply.message) ||
    reply.code === 425 && /reuse|not permitted/i.test(reply.message);
  // What vsftpd says when a disk or quota is full.
  const full = reply.code === 451 && /writing to local file/i.test(reply.message);
  // What proftpd says where its MaxClients and the like are reached, and before it is shut down.
  const passing =
    reply.code === 530 && /already (connected|logged)|too many (connections|clients|users)/i.test(reply.message) ||
    reply.code === 500 && /shut ?down.*try again later/i.test(reply.message);
  const code = reuse
    ? "session-reuse"
    : full
    ? "no-space"
    : passing
    ? "interrupted"
    : REPLIES.get(reply.code) ?? "protocol";
  return [code, `FTP reply ${reply.code}`];
}

function meaningOfText(cause: unknown): [UploadErrorCode, string] {
  if (!(cause instanceof Error)) return ["interrupted", typeof cause];
  const own = "code" in cause && typeof cause.code === "string" && cause.code !== "0" ? cause.code : "";
  const text = `${own || (cause.name === "Error" ? "" : cause.name)} ${cause.message}`.trim();
  if (/NotCapable|Requires net access|getaddrinfo EPERM/.test(text)) return ["unreachable", NOT_CAPABLE];
  const [, code] = TEXTS.find(([pattern]) => pattern.test(text)) ?? [undefined, "interrupted" as const];
  return [code, own || code];
}
