import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { ConfigError } from "./errors.ts";

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
