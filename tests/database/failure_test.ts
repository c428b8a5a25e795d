import { assertEquals } from "@std/assert";
import { databaseErrorCode } from "../../src/database/failure.ts";

for (
  const [code, meaning] of [
    ["ECONNREFUSED", "database-unreachable"],
    ["EAI_AGAIN", "database-unreachable"],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "database-refused"],
    ["57P01", "database-unreachable"],
    ["57014", "database-busy"],
    ["XX000", "database-failed"],
  ] as const
) {
  Deno.test(`databaseErrorCode() takes ${code} for ${meaning}`, () => {
    assertEquals(databaseErrorCode(Object.assign(new Error("no"), { code })), meaning);
  });
}
