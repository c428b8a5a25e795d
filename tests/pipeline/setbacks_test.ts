import { assertEquals } from "@std/assert";
import type { FileToSend } from "../../src/pipeline/file_to_send.ts";
import { Setbacks } from "../../src/pipeline/setbacks.ts";

function file(projectSlug: string, bytes = 1): FileToSend {
  return { projectSlug, source: "", bytes, path: projectSlug, record: () => Promise.resolve() };
}

function times(count: number, work: () => void): void {
  for (let at = 0; at < count; at++) work();
}

Deno.test("Setbacks counts a row of one project, however many of another are sent, until one of its own is", () => {
  const setbacks = new Setbacks(1);
  times(5, () => {
    setbacks.cut(file("one"));
    setbacks.sent(file("two"));
  });
  assertEquals(setbacks.areInARow("one"), false);

  setbacks.cut(file("one"));
  assertEquals([setbacks.areInARow("one"), setbacks.areInARow("two")], [true, false]);

  setbacks.sent(file("one"));
  assertEquals(setbacks.areInARow("one"), false);
});

Deno.test("Setbacks bears one more for each further connection", () => {
  const setbacks = new Setbacks(3);
  times(7, () => setbacks.cut(file("one")));
  assertEquals(setbacks.areInARow("one"), false);

  setbacks.cut(file("one"));
  assertEquals(setbacks.areInARow("one"), true);
});

Deno.test("Setbacks gives a project up until one of its files is sent, or new ones come", () => {
  const setbacks = new Setbacks(1);
  setbacks.giveUp("one");
  setbacks.sent(file("two"));
  assertEquals([setbacks.isGivenUp("one"), setbacks.isGivenUp("two")], [true, false]);

  setbacks.newFiles("one");
  assertEquals(setbacks.isGivenUp("one"), false);
  setbacks.giveUp("one");
  setbacks.sent(file("one"));
  assertEquals(setbacks.isGivenUp("one"), false);
});

Deno.test("Setbacks takes for too large what is no smaller than the smallest of a row without space", () => {
  const setbacks = new Setbacks(1);
  for (const bytes of [50, 40, 60, 50, 50]) setbacks.foundNoSpace(file("one", bytes));
  assertEquals(setbacks.isTooLarge(file("one", 1_000)), false);

  setbacks.foundNoSpace(file("one", 70));
  const areTooLarge = () => [39, 40, 1_000].map((bytes) => setbacks.isTooLarge(file("one", bytes)));
  assertEquals([areTooLarge(), setbacks.isTooLarge(file("two", 1_000))], [[false, true, true], false]);

  setbacks.sent(file("one", 39)); // fits into what is left
  assertEquals(areTooLarge(), [false, true, true]);
  setbacks.sent(file("one", 40)); // somebody has made room
  assertEquals(areTooLarge(), [false, false, false]);
});

Deno.test("Setbacks tries one more where new files come to a project without space", () => {
  const setbacks = new Setbacks(1);
  times(100, () => setbacks.foundNoSpace(file("one", 50)));
  setbacks.newFiles("one");
  assertEquals(setbacks.isTooLarge(file("one", 50)), false);

  setbacks.foundNoSpace(file("one", 50));
  assertEquals(setbacks.isTooLarge(file("one", 50)), true);
});
