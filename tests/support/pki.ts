import { makePki, type Pki } from "../../src/demo/pki.ts";

let own: Pki | undefined;

/**
 * The authority and certificate (localhost, 127.0.0.1) that all servers of a test run share: a process trusts one authority for FTPS, once. From
 * `PIXL_TEST_PKI` (JSON) where the runner has made it, else one for this test file.
 */
export function sharedPki(): Pki {
  const given = Deno.env.get("PIXL_TEST_PKI");
  return own ??= given === undefined ? makePki({ hosts: ["localhost", "127.0.0.1"] }) : JSON.parse(given) as Pki;
}
