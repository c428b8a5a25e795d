import { X509Certificate } from "node:crypto";
import * as tls from "node:tls";
import { UploadError } from "./errors.ts";

/** Node's typings of `tls` that come with Deno lack it. */
const { setDefaultCACertificates } = tls as typeof tls & {
  setDefaultCACertificates(certificates: readonly string[]): void;
};

const SYSTEM_ROOTS = "";
let trusted: string | undefined;

/**
 * Sets which authorities this isolate (main thread or worker) trusts for FTPS, once and for all.
 *
 * Servers want the data connection to resume the TLS session of the control connection. Deno resumes one only with the same verifier object: one that
 * was built from a connection's own `ca` is new every time, and changing the default list makes a new one under the feet of open connections. So the
 * list is set before the first connection and never again. `fetch()` does not use it.
 *
 * @param caPem One or more certificates; the system's roots if `undefined`.
 * @throws {UploadError} `authority-conflict` if it is not a certificate, or if other authorities were set before.
 */
export function trustAuthority(caPem: string | undefined): void {
  const certificates = caPem === undefined ? [] : certificatesOf(caPem);
  const wanted = certificates.length === 0 ? SYSTEM_ROOTS : certificates.map((each) => each.fingerprint256).join();
  if (trusted === undefined) {
    if (wanted !== SYSTEM_ROOTS) setDefaultCACertificates(certificates.map(String));
    trusted = wanted;
  } else if (trusted !== wanted) {
    throw new UploadError(
      "authority-conflict",
      "Cannot trust another certificate authority: this process has used one for FTPS already; use one file with all " +
        "authorities for every destination, or a worker for each destination",
    );
  }
}

function certificatesOf(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  try {
    if (blocks.length > 0) return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    throw unreadable({ cause });
  }
  throw unreadable();
}

function unreadable(options?: ErrorOptions): UploadError {
  return new UploadError(
    "authority-conflict",
    "Cannot read the certificate authority: give certificates in PEM",
    options,
  );
}
