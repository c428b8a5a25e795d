import { assertEquals, assertThrows } from "@std/assert";
import { UploadError } from "../../src/upload/mod.ts";
import { remotePath } from "../../src/upload/remote_path.ts";

Deno.test("remotePath() joins the base folder and the path", () => {
  assertEquals(remotePath("/", "x.zip"), { path: "/x.zip", folder: "/", name: "x.zip", part: ".x.zip.part" });
  assertEquals(remotePath("/dsh/in/", "my project/x.zip"), {
    path: "/dsh/in/my project/x.zip",
    folder: "/dsh/in/my project",
    name: "x.zip",
    part: ".x.zip.part",
  });
});

Deno.test("remotePath() takes the longest names that servers take", () => {
  const name = "ü".repeat(124) + "x"; // 249 bytes
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
    "x".repeat(250),
    `${"x".repeat(256)}/y`,
  ]
) {
  Deno.test(`remotePath() refuses ${JSON.stringify(path.length > 20 ? `${path.slice(0, 5)}… of ${path.length}` : path)}`, () => {
    const error = assertThrows(() => remotePath("/", path), UploadError);
    assertEquals(error.code, "invalid-name");
    assertEquals(error.kind, "input");
  });
}
