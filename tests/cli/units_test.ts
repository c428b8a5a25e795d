import { assertEquals } from "@std/assert";
import { agoText, bytesText, counted, durationText } from "../../src/cli/units.ts";

Deno.test("bytesText() takes the unit that leaves up to three digits", () => {
  const cases = [[0, "0 bytes"], [999, "999 bytes"], [1_000, "1.0 kB"], [999_940, "999.9 kB"], [999_960, "1.0 MB"], [
    3_210_000,
    "3.2 MB",
  ], [
    2e15,
    "2000.0 TB",
  ]] as const;
  for (const [bytes, text] of cases) assertEquals(bytesText(bytes), text);
});

Deno.test("durationText() gives minutes and seconds, and hours where there are any", () => {
  const cases = [[0, "0:00"], [59.6, "1:00"], [3_599, "59:59"], [3_661, "1:01:01"]] as const;
  for (const [seconds, text] of cases) assertEquals(durationText(seconds), text);
});

Deno.test("agoText() gives one whole unit, rounded down", () => {
  const cases = [[-5, "0 s"], [59_999, "59 s"], [60_000, "1 min"], [3_599_999, "59 min"], [7_300_000, "2 h"], [
    180_000_000,
    "2 d",
  ]] as const;
  for (const [ms, text] of cases) assertEquals(agoText(ms), text);
});

Deno.test("counted() takes the plural for all but one", () => {
  assertEquals([0, 1, 2].map((count) => counted(count, "file")), ["0 files", "1 file", "2 files"]);
  assertEquals([0, 1, 2].map((count) => counted(count, "study", "studies")), ["0 studies", "1 study", "2 studies"]);
});
