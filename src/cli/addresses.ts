import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { ConfigError } from "./errors.ts";

/** Whether a host is this one, so that what is sent there meets no network (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3, RFC 6761 section 6.3). */
export function isLoopback(host: string): boolean {
  return /^(localhost\.?|127(\.\d{1,3}){3}|::1|\[::1\])$/i.test(host);
}

/**
 * Addresses of a host, as the system resolves them.
 *
 * @param host A name or an address.
 * @throws {ConfigError} If the name is unknown.
 */
export async function addressesOf(host: string): Promise<string[]> {
  if (isIP(host) !== 0) return [host];
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address);
  } catch (error) {
    throw new ConfigError([`The host '${host}' is unknown: check the name`], { cause: error });
  }
}
