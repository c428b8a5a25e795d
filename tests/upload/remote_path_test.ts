import { assert, assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import { UploadError } from "../../src/upload/mod.ts";
import { isPartNameOf, remotePath } from "../../src/upload/remote_path.ts";

Deno.test("remotePath() joins the base folder and the path", () => {
  const { part: _, ...short } = remotePath("/", "x.zip");
  assertEquals(short, { path: "/x.zip", folder: "/", name: "x.zip" });
  const { part: __, ...long } = remotePath("/dsh/in/", "my project/x.zip");
  assertEquals(long, {
    path: "/dsh/in/my project/x.zip",
    folder: "/dsh/in/my project",
    name: "x.zip",
  });
});

Deno.test("remotePath() gives the unfinished file another name each time, that isPartNameOf() knows", () => {
  const [one, two] = [remotePath("/", "x.zip").part, remotePath("/", "x.zip").part];

  assertMatch(one, /^\.x\.zip\.[0-9a-f]{8}\.part$/);
  assertNotEquals(one, two);
  assert(isPartNameOf(one, "x.zip"));
  for (
    const [part, name] of [[one, "y.zip"], [".x.zip.part", "x.zip"], ["../x.zip.0badcafe.part", "x.zip"], [
      "",
      "",
    ]] as const
  ) {
    assert(!isPartNameOf(part, name), part);
  }
});

Deno.test("remotePath() takes the longest names that servers take", () => {
  const name = "ü".repeat(120); // 240 bytes
  assertEquals(new TextEncoder().encode(remotePath("/", name).part).length, 255);
});

for (
  const path of [
    "",
    "/",
    "/x",
    "x/",
    "a//x",
    ".",
    "..",
    "../x",
    "a/../x",
    "a/.",
    "a\\x",
    "a\nx",
    "a\rx",
    "a\u0000x",
    "a\u007fx",
    "a\u0085x",
    "a\u2028x",
    " x",
    "x ",
    "a /x",
    "\ud800",
    ".x.part",
    "x".repeat(241),
    `${"x".repeat(256)}/y`,
  ]
) {
  Deno.test(`remotePath() refuses ${JSON.stringify(path.length > 20 ? `${path.slice(0, 5)}… of ${path.length}` : path)}`, () => {
    const error = assertThrows(() => remotePath("/", path), UploadError);
    assertEquals(error.code, "invalid-name");
    assertEquals(error.kind, "input");
  });
}
