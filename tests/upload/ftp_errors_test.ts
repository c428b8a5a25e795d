import { assertEquals, assertMatch, assertNotMatch, assertStrictEquals } from "@std/assert";
import { FTPError } from "basic-ftp";
import { asUploadError } from "../../src/upload/ftp_errors.ts";
import { UploadError, type UploadErrorCode } from "../../src/upload/mod.ts";

const reply = (code: number, text: string) => new FTPError({ code, message: `${code} ${text}` });
const failure = (message: string, code?: string) => Object.assign(new Error(message), code ? { code } : {});

/** As seen with the servers, clients and runtimes that the uploader meets. */
const cases: readonly (readonly [Error, UploadErrorCode])[] = [
  [reply(530, "Login incorrect."), "login-refused"],
  [reply(530, "Sorry, the maximum number clients (4) from your host are already connected."), "interrupted"],
  [reply(530, "Maximum login attempts exceeded"), "login-refused"],
  [reply(500, "FTP server shut down (going down in 5 minutes) -- please try again later"), "interrupted"],
  [reply(430, "Invalid username or password"), "login-refused"],
  [reply(550, "Permission denied."), "permission-denied"],
  [reply(553, "Could not create file."), "permission-denied"],
  [reply(452, "Transfer aborted. No space left on device"), "no-space"],
  [reply(552, "Disk quota exceeded"), "no-space"],
  [reply(451, "Failure writing to local file."), "no-space"],
  [reply(451, "Restart not permitted, try again"), "interrupted"],
  [reply(522, "SSL connection failed: session reuse required"), "session-reuse"],
  [reply(522, "TLS negotiation failed."), "session-reuse"],
  [reply(425, "Unable to build data connection: Operation not permitted"), "session-reuse"],
  [reply(425, "Can't open data connection."), "interrupted"],
  [reply(421, "Timeout."), "interrupted"],
  [reply(426, "Failure reading network stream."), "interrupted"],
  [reply(500, "SIZE not understood"), "protocol"],
  [reply(522, "Network protocol not supported"), "protocol"],
  [failure("read ECONNRESET (control socket)", "ECONNRESET"), "interrupted"],
  [failure("write EPIPE (data socket)", "EPIPE"), "interrupted"],
  [failure("Server sent FIN packet unexpectedly, closing connection."), "interrupted"],
  [failure("Timeout (control socket)"), "timeout"],
  [failure("Timeout when trying to open data connection to 127.0.0.1:1"), "timeout"],
  [
    failure("None of the available transfer strategies work. Last error response was 'Error: Timeout when'."),
    "timeout",
  ],
  [new DOMException("Signal timed out.", "TimeoutError"), "timeout"],
  [failure("connect ECONNREFUSED 127.0.0.1:990 (control socket)", "ECONNREFUSED"), "unreachable"],
  [failure("getaddrinfo ENOTFOUND nowhere.invalid", "ENOTFOUND"), "unreachable"],
  [failure("unable to verify the first certificate", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"), "untrusted-certificate"],
  [failure("Hostname/IP does not match", "ERR_TLS_CERT_ALTNAME_INVALID"), "untrusted-certificate"],
  [failure("certificate has expired", "CERT_HAS_EXPIRED"), "untrusted-certificate"],
  [failure("self-signed certificate in chain", "SELF_SIGNED_CERT_IN_CHAIN"), "untrusted-certificate"],
  [failure("Premature close", "ERR_STREAM_PREMATURE_CLOSE"), "session-reuse"],
  [failure("Can't parse response to 'SIZE x' as a numerical value: 213"), "protocol"],
];

for (const [cause, code] of cases) {
  Deno.test(`asUploadError() takes "${cause.message}" for ${code}`, () => {
    const error = asUploadError(cause, "upload '/a/b.zip' to host:990");

    assertEquals(error.code, code);
    assertStrictEquals(error.cause, cause);
    assertMatch(error.message, /^Cannot upload '\/a\/b\.zip' to host:990 \([\w ]+[^)]*\): .*[^.]$/);
  });
}

Deno.test("asUploadError() keeps what the server says out of the text", () => {
  const error = asUploadError(reply(550, "MRNSEED: Permission denied"), "upload '/a' to host:990");

  assertNotMatch(error.message, /MRNSEED/);
});

Deno.test("asUploadError() leaves the package's own errors as they are", () => {
  const error = new UploadError("source-changed", "Cannot upload");

  assertStrictEquals(asUploadError(error, "upload"), error);
});

Deno.test("asUploadError() says which permission Deno wants, and that trying again will not help", () => {
  const denied = new Deno.errors.NotCapable('Requires net access to "dsh.example:990"');
  const wrapped = failure(
    "None of the available transfer strategies work. Last error response was 'NotCapable: Requires net access'.",
  );
  const lookup = failure("getaddrinfo EPERM dsh.example (control socket)", "EPERM");
  for (const cause of [denied, wrapped, lookup]) {
    const error = asUploadError(cause, "connect to dsh.example:990");

    assertEquals([error.code, error instanceof UploadError && error.retryable], ["unreachable", false]);
    assertMatch(error.message, /--allow-net/);
  }
});
