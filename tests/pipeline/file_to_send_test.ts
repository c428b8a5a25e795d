import { assert, assertEquals } from "@std/assert";
import { Turns } from "../../src/pipeline/file_to_send.ts";
import { filesOf } from "./sharing.ts";

Deno.test("Turns gives a file to the project that has the fewest in hand", () => {
  const turns = new Turns(filesOf("", "x", { large: 4, small: 3 }));
  const [first, second, third, fourth] = Array.from({ length: 4 }, () => turns.next());
  assertEquals([first, second, third, fourth].map((turn) => turn?.file.projectSlug), [
    ...["large", "small", "large", "small"],
  ]);
  second?.finished();
  assertEquals(turns.next()?.file.path, "x-small/2");
  assertEquals([turns.next(), turns.next(), turns.next()].map((turn) => turn?.file.path), [
    ...["x-large/2", "x-large/3", undefined],
  ]);
});

Deno.test("Turns gives projects that come later, or again, no more turns than the others have from then on", () => {
  const turns = new Turns(filesOf("", "x", { old: 100, large: 1, again: 1 }));
  const next = () => {
    const turn = turns.next();
    if (turn?.file.projectSlug !== "large") turn?.finished(); // that one stays in hand
    return turn?.file.projectSlug;
  };
  for (let at = 0; at < 50; at++) next();

  turns.add(filesOf("", "y", { new: 50, again: 50 }));

  const twelve = Array.from({ length: 12 }, next);
  assertEquals(["old", "new", "again"].map((each) => twelve.filter((project) => project === each).length), [4, 4, 4]);
});

Deno.test("Turns has later files of a project after its earlier ones, and one that is put back between them", () => {
  const turns = new Turns(filesOf("", "x", { one: 2 }));
  const first = turns.next();
  assert(first);
  first.finished();
  turns.putBack(first.file);
  turns.add(filesOf("", "y", { one: 2 }));

  assertEquals(Array.from({ length: 5 }, () => turns.next()?.file.path), [
    ...["x-one/1", "x-one/0", "y-one/0", "y-one/1", undefined],
  ]);
});

Deno.test("Turns has as a project's last file none that was put back", () => {
  const turns = new Turns(filesOf("", "x", { one: 3 }));
  const first = turns.next();
  assert(first);
  turns.putBack(first.file);

  assertEquals([turns.last("one"), turns.last("one"), turns.last("one")].map((turn) => turn?.file.path), [
    ...["x-one/2", "x-one/1", undefined],
  ]);
});

Deno.test("Turns passes over what is not ready, until it is", () => {
  let isReady = false;
  const [first, second, other] = filesOf("", "x", { one: 2, two: 1 });
  assert(first && second && other);
  const turns = new Turns([{ ...first, isReady: () => isReady }, second, other]);
  const next = () => turns.next()?.file.path;
  assertEquals([turns.last("one")?.file.path, next(), next()], ["x-one/1", "x-two/0", undefined]);

  isReady = true;
  assertEquals([next(), next()], ["x-one/0", undefined]);
});
