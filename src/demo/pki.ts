import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";

/** What {@linkcode makePki} makes, in PEM. */
export interface Pki {
  /** The certificate of the authority: what clients trust. Its key is thrown away. */
  readonly caPem: string;
  /** The server's certificate, signed by the authority. */
  readonly certPem: string;
  /** The server's private key, PKCS #8. */
  readonly keyPem: string;
}

/** What {@linkcode makePki} needs to know. */
export interface PkiOptions {
  /** Names and addresses that the server is reached by. */
  readonly hosts: readonly [string, ...string[]];
  /** Days of validity from now; it begins an hour ago, for clocks that run late. @default {30} */
  readonly days?: number;
  /** When validity begins. @default An hour ago. */
  readonly from?: Date;
}

const OID = {
  ecdsaWithSha256: [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
  commonName: [0x55, 0x04, 0x03],
  subjectKeyIdentifier: [0x55, 0x1d, 0x0e],
  keyUsage: [0x55, 0x1d, 0x0f],
  subjectAltName: [0x55, 0x1d, 0x11],
  basicConstraints: [0x55, 0x1d, 0x13],
  authorityKeyIdentifier: [0x55, 0x1d, 0x23],
  extendedKeyUsage: [0x55, 0x1d, 0x25],
  serverAuth: [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01],
} as const;

/**
 * Makes a throw-away certificate authority and a server certificate (X.509 v3 as in RFC 5280, EC P-256), for demos and tests. Where a hospital has an
 * authority of its own, use that one.
 *
 * @param options The server's names.
 * @returns The certificates and the server's key.
 * @throws {RangeError} If `days` is not a whole number above 0.
 *
 * @example
 * ```ts ignore
 * const pki = makePki({ hosts: ["localhost", "127.0.0.1"] });
 * await Deno.writeTextFile("ca.pem", pki.caPem);
 * ```
 */
export function makePki({ hosts, days = 30, from = new Date(Date.now() - 3_600_000) }: PkiOptions): Pki {
  if (!Number.isInteger(days) || days < 1) {
    throw new RangeError(`Cannot make certificates as 'days' must be a whole number above 0: current value is ${days}`);
  }
  const validity = { from, until: new Date(from.getTime() + days * 86_400_000) };
  const authority = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const server = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const issuer = { name: "PIXL demonstration authority", key: authority.privateKey };
  const keyId = keyIdentifier(authority.publicKey);
  const ca = certificate(issuer, issuer.name, authority.publicKey, validity, [
    extension(OID.basicConstraints, sequence(der(0x01, [0xff])), true),
    extension(OID.keyUsage, der(0x03, [0x01, 0x06]), true), // keyCertSign, cRLSign
    extension(OID.subjectKeyIdentifier, der(0x04, keyId)),
  ]);
  const leaf = certificate(issuer, hosts[0], server.publicKey, validity, [
    extension(OID.basicConstraints, sequence(), true),
    extension(OID.keyUsage, der(0x03, [0x07, 0x80]), true), // digitalSignature
    extension(OID.extendedKeyUsage, sequence(der(0x06, OID.serverAuth))),
    extension(OID.subjectAltName, sequence(...hosts.map(generalName))),
    extension(OID.authorityKeyIdentifier, sequence(der(0x80, keyId))),
  ]);
  return {
    caPem: pem(ca),
    certPem: pem(leaf),
    keyPem: String(server.privateKey.export({ type: "pkcs8", format: "pem" })),
  };
}

interface Issuer {
  readonly name: string;
  readonly key: KeyObject;
}

/** RFC 5280 section 4.1. */
function certificate(
  issuer: Issuer,
  subject: string,
  key: KeyObject,
  validity: { readonly from: Date; readonly until: Date },
  extensions: readonly Uint8Array[],
): Uint8Array {
  const algorithm = sequence(der(0x06, OID.ecdsaWithSha256));
  const serial = randomBytes(16);
  serial[0] = 0x40 | (serial[0] ?? 0) & 0x3f; // positive, and never shortened
  const body = sequence(
    der(0xa0, der(0x02, [2])),
    der(0x02, serial),
    algorithm,
    distinguishedName(issuer.name),
    sequence(time(validity.from), time(validity.until)),
    distinguishedName(subject),
    spki(key),
    der(0xa3, sequence(...extensions)),
  );
  return sequence(body, algorithm, der(0x03, [0], sign("sha256", body, issuer.key)));
}

function der(tag: number, ...parts: readonly ArrayLike<number>[]): Uint8Array {
  const content = parts.flatMap((part) => Array.from(part));
  const digits = content.length < 0x80
    ? []
    : content.length < 0x100
    ? [content.length]
    : [content.length >> 8, content.length & 0xff];
  return Uint8Array.from([tag, digits.length === 0 ? content.length : 0x80 | digits.length, ...digits, ...content]);
}

function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return der(0x30, ...parts);
}

function extension(oid: readonly number[], value: Uint8Array, critical = false): Uint8Array {
  return sequence(der(0x06, oid), ...(critical ? [der(0x01, [0xff])] : []), der(0x04, value));
}

function distinguishedName(text: string): Uint8Array {
  return sequence(der(0x31, sequence(der(0x06, OID.commonName), der(0x0c, new TextEncoder().encode(text)))));
}

/** RFC 5280 section 4.1.2.5: two digits of the year before 2050, four from then on. */
function time(date: Date): Uint8Array {
  const digits = `${date.toISOString().replace(/\D/g, "").slice(0, 14)}Z`;
  const short = date.getUTCFullYear() < 2050;
  return der(short ? 0x17 : 0x18, new TextEncoder().encode(short ? digits.slice(2) : digits));
}

function generalName(host: string): Uint8Array {
  if (isIP(host) === 4) return der(0x87, host.split(".").map(Number));
  if (isIP(host) === 6) return der(0x87, ipv6Bytes(host));
  return der(0x82, new TextEncoder().encode(host));
}

function ipv6Bytes(address: string): number[] {
  const groups = (text: string) => text === "" ? [] : text.split(":").map((group) => parseInt(group, 16));
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1); // also turns a dotted end into groups
  const [head = "", tail = ""] = canonical.split("::");
  const [before, after] = [groups(head), groups(tail)];
  const zeros = new Array<number>(8 - before.length - after.length).fill(0);
  return [...before, ...zeros, ...after].flatMap((group) => [group >> 8, group & 0xff]);
}

function spki(key: KeyObject): Uint8Array {
  return new Uint8Array(key.export({ type: "spki", format: "der" }));
}

/** RFC 7093 section 2, method 1: any name will do that is the same in both certificates. */
function keyIdentifier(key: KeyObject): Uint8Array {
  return new Uint8Array(createHash("sha256").update(spki(key)).digest().subarray(0, 20));
}

function pem(bytes: Uint8Array): string {
  const lines = bytes.toBase64().match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
