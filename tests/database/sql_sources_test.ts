import { assertEquals, assertGreater } from "@std/assert";
import { join } from "node:path";
import { ROOT } from "../support/paths.ts";

/** The one place that sends a text as it is: the migrations, which no value goes into. */
const TEXT_AS_IT_IS = "src/database/migrate.ts";

async function* sources(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(join(ROOT, folder))) {
    if (isDirectory) yield* sources(join(folder, name));
    else if (name.endsWith(".ts")) yield join(folder, name);
  }
}

/** What makes SQL of strings, with the line it stands in. */
function suspects(text: string): string[] {
  const verbs =
    "(?:select|insert\\s+into|update|delete\\s+from|create\\s+(?:table|index|schema)|alter\\s+table|drop|truncate|copy|with\\s+\\w+\\s+as)\\s";
  const patterns = [
    /\.unsafe\s*\(/g,
    // A template that is SQL and has a value in it, but not the tag that makes it a parameter.
    new RegExp(`(?<!\\bsql|\\btx|>)\`\\s*${verbs}[^\`]*\\$\\{`, "gi"),
    new RegExp(`"\\s*${verbs}[^"\\n]*"\\s*\\+`, "gi"),
  ];
  return patterns.flatMap((pattern) => [...text.matchAll(pattern)].map(([found]) => found.slice(0, 60)));
}

Deno.test("No SQL is put together of strings", async () => {
  const found: string[] = [];
  let queries = 0;
  for await (const path of sources("src")) {
    const text = await Deno.readTextFile(join(ROOT, path));
    queries += [...text.matchAll(/\bsql(?:<[^`]*>)?`/g)].length;
    if (path !== TEXT_AS_IT_IS) found.push(...suspects(text).map((suspect) => `${path}: ${suspect}`));
  }
  assertEquals(found, []);
  assertGreater(queries, 30);
});

Deno.test("The search for SQL of strings finds it", () => {
  const value = "${mrn}";
  for (
    const bad of [
      "sql.unsafe(`select 1`)",
      `query(\`select * from image where mrn = '${value}'\`)`,
      `const text = \`\n  update image set mrn = ${value}\`;`,
      `query("delete from image where mrn = '" + mrn + "'")`,
    ]
  ) assertEquals(suspects(bad).length, 1, bad);
  assertEquals(suspects(`await sql<Row[]>\`select * from image where mrn = ${value}\``), []);
});
