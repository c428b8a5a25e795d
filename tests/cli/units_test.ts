import { assertEquals } from "@std/assert";
import { bytesText, durationText } from "../../src/cli/units.ts";

Deno.test("bytesText() takes the unit that leaves up to three digits", () => {
  const cases = [[0, "0 bytes"], [999, "999 bytes"], [1_000, "1.0 kB"], [3_210_000, "3.2 MB"], [
    2e15,
    "2000.0 TB",
  ]] as const;
  for (const [bytes, text] of cases) assertEquals(bytesText(bytes), text);
});

Deno.test("durationText() gives minutes and seconds, and hours where there are any", () => {
  const cases = [[0, "0:00"], [59.6, "1:00"], [3_599, "59:59"], [3_661, "1:01:01"]] as const;
  for (const [seconds, text] of cases) assertEquals(durationText(seconds), text);
});
