import { assertEquals } from "@std/assert";
import { compareTimestamps } from "../src/timestamp.ts";

for (
  const [what, earlier, later] of [
    ["seconds", "2023-12-07T14:08:57", "2023-12-07T14:08:58"],
    ["microseconds", "2023-12-07T14:08:58.000001Z", "2023-12-07T14:08:58.00001Z"],
    ["a second without a fraction and one with", "2023-12-07T14:08:58+01:00", "2023-12-07T14:08:58.5+01:00"],
    ["instants where both have offsets", "2023-10-29T01:30:00+01:00", "2023-10-29T01:10:00Z"],
    ["instants west of Greenwich", "2023-11-05T01:30:00-04:00", "2023-11-05T01:10:00-05:00"],
    ["clocks where one has no offset", "2023-10-29T01:10:00", "2023-10-29T01:30:00+01:00"],
  ] as const
) {
  Deno.test(`compareTimestamps() compares ${what}`, () => {
    const signs = [[earlier, later], [later, earlier], [later, later]].map(([a = "", b = ""]) =>
      Math.sign(compareTimestamps(a, b))
    );
    assertEquals(signs, [-1, 1, 0]);
  });
}

Deno.test("compareTimestamps() takes equal instants for equal", () => {
  assertEquals(compareTimestamps("2023-12-07T14:08:58.5Z", "2023-12-07T15:08:58.5+01:00"), 0);
});
