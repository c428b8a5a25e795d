import { assertEquals } from "@std/assert";
import { drawTree } from "../../src/demo/tree.ts";

Deno.test("drawTree() shows folders before files", () => {
  assertEquals(drawTree(["b", "a/y", "a/x"]), ["├─ a/", "│  ├─ x", "│  └─ y", "└─ b"]);
});

Deno.test("drawTree() shortens a long folder", () => {
  const paths = Array.from({ length: 10 }, (_, i) => `f${i}`);
  assertEquals(drawTree(paths), ["├─ f0", "├─ f1", "├─ f2", "├─ f3", "├─ f4", "├─ f5", "└─ … 4 more"]);
});

Deno.test("drawTree() of nothing is nothing", () => {
  assertEquals(drawTree([]), []);
});
