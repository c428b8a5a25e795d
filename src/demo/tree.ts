/** Siblings shown of a folder with many. */
const SHOWN = 6;

/**
 * Draws paths as a tree, folders before files, long folders shortened.
 *
 * @param paths Paths with `/`, in any order.
 * @returns One line each.
 */
export function drawTree(paths: readonly string[]): string[] {
  interface Node extends Map<string, Node> {}
  const root: Node = new Map();
  for (const path of paths) {
    let node = root;
    for (const name of path.split("/")) {
      const next: Node = node.get(name) ?? new Map();
      node.set(name, next);
      node = next;
    }
  }
  return draw(root, "");

  function draw(node: Node, indent: string): string[] {
    const entries = [...node].sort(([a, { size: inA }], [b, { size: inB }]) =>
      Number(inA === 0) - Number(inB === 0) || (a < b ? -1 : 1)
    );
    const shown = entries.length > SHOWN + 1 ? entries.slice(0, SHOWN) : entries;
    const hidden = entries.length - shown.length;
    const lines = shown.flatMap(([name, children], i) => {
      const last = hidden === 0 && i === shown.length - 1;
      const folder = children.size > 0 ? "/" : "";
      return [
        `${indent}${last ? "└─ " : "├─ "}${name}${folder}`,
        ...draw(children, `${indent}${last ? "   " : "│  "}`),
      ];
    });
    return hidden === 0 ? lines : [...lines, `${indent}└─ … ${hidden} more`];
  }
}
