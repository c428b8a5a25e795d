import { assertEquals, assertMatch } from "@std/assert";
import { stripVTControlCharacters } from "node:util";
import { Screen, type Terminal } from "../../src/cli/screen.ts";

function terminal(interactive: boolean): Terminal & { text(): string } {
  let text = "";
  return { interactive, columns: 80, write: (more) => void (text += more), text: () => text };
}

Deno.test("Screen shows a finished phase as one line where bars cannot be redrawn", () => {
  const to = terminal(false);
  const phase = new Screen(to).phase("upload", 2, "files");
  phase.advance(2);
  phase.done("2 files");
  phase[Symbol.dispose]();
  assertMatch(stripVTControlCharacters(to.text()), /^✓ upload {13}2 files 0\.\d s\n$/);
});

Deno.test("Screen says where a phase stopped", () => {
  const to = terminal(false);
  {
    using phase = new Screen(to).phase("upload", 3, "files");
    phase.advance();
  }
  assertMatch(stripVTControlCharacters(to.text()), /^✗ upload {13}stopped at 1 of 3 files/);
});

Deno.test("Screen writes lines above the bar", () => {
  const to = terminal(true);
  const screen = new Screen(to);
  using _phase = screen.phase("upload", 3, "files");
  screen.line("a log line");
  const lines = to.text().split("\r\x1b[K");
  assertEquals(lines.at(-1)?.startsWith("a log line\n  upload"), true);
});

Deno.test("Screen aligns a table: text to the left, numbers to the right", () => {
  const to = terminal(false);
  new Screen(to).table([["queue", "ready"], ["pacs", 7], ["a-long-name", 1234]]);
  assertEquals(to.text(), "  queue        ready\n  pacs             7\n  a-long-name   1234\n");
});
