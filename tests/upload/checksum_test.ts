import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { startChecksum } from "../../src/upload/checksum.ts";

const text = (text: string) => new TextEncoder().encode(text);

Deno.test("startChecksum() gives the sums that RFC 1321 and the CRC catalogue print", () => {
  for (
    const [kind, of, hex] of [
      ["md5", "", "d41d8cd98f00b204e9800998ecf8427e"],
      ["md5", "message digest", "f96b697d7cb7938d525a2f31aaf161d0"],
      ["crc32", "", "00000000"],
      ["crc32", "123456789", "cbf43926"],
    ] as const
  ) {
    const sum = startChecksum(kind);
    sum.update(text(of));
    assertEquals(sum.hex(), hex);
  }
});

Deno.test("startChecksum() does not care how the bytes are cut", () => {
  fc.assert(fc.property(
    fc.constantFrom("md5" as const, "crc32" as const),
    fc.array(fc.uint8Array({ maxLength: 50 })),
    (kind, pieces) => {
      const [one, many] = [startChecksum(kind), startChecksum(kind)];
      one.update(new Uint8Array(pieces.flatMap((piece) => [...piece])));
      for (const piece of pieces) many.update(piece);
      assertEquals(many.hex(), one.hex());
    },
  ));
});
