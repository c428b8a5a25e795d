import { assertEquals, assertThrows } from "@std/assert";
import { InvalidSlugError, slugify, timeSlug } from "../../src/exports/mod.ts";
import { fixtureTest } from "../support/fixtures.ts";

/** What python-slugify 4.0.0 makes of them, with Unidecode 1.3.6. */
const PAIRS: readonly (readonly [string, string])[] = [
  ["Test Extract - UCLH OMOP CDM", "test-extract-uclh-omop-cdm"],
  ["  A  B---C ", "a-b-c"],
  ["under_score", "under-score"],
  ["../../etc/passwd", "etc-passwd"],
  ["rock'n'roll", "rock-n-roll"],
  ["l&#39;été", "lete"],
  ["1,234,567 images", "1234567-images"],
  ["a,b 1,b", "a-b-1-b"],
  ["&#381; &#x17D; &eacute; &amp;#233; &bogus; &amp", "z-z-e-e-bogus-amp"],
  ["&#1114112; &#65;", "1114112-65"],
  ["Łódź Zürich ÆØÅ straße", "lodz-zurich-aeoa-strasse"],
  ["Ελλάδα Привет日本語", "ellada-privetri-ben-yu"],
  ["にほんシツ", "nihonshitsu"],
  ["ﬁne №5 Ⅷ 5½", "fine-no-5-viii-5-1-2"],
  ["Ã©", "a-c"],
  ["a\u0085b\u{1f600}c", "abc"],
];

for (const [text, slug] of PAIRS) {
  Deno.test(`slugify() makes of ${JSON.stringify(text)} what python-slugify does`, () => {
    assertEquals(slugify(text), slug);
  });
}

Deno.test("slugify() leaves a slug as it is", () => {
  for (const [, slug] of PAIRS) assertEquals(slugify(slug), slug);
});

Deno.test("slugify() refuses a text of which nothing is left", () => {
  for (const text of ["", " ", "..", "/", "---", "'", "\u{1f600}"]) {
    const error = assertThrows(() => slugify(text), InvalidSlugError, "use at least one letter or digit");
    assertEquals(error.kind, "input");
  }
});

Deno.test("timeSlug() makes the folder name of the Python PIXL", () => {
  assertEquals(timeSlug("2020-06-10T18:00:00"), "2020-06-10t18-00-00");
  assertEquals(timeSlug("2023-12-07 14:08:58"), "2023-12-07t14-08-58");
  assertEquals(timeSlug("2023-12-13T16:22:40Z"), "2023-12-13t16-22-40-00-00");
  assertEquals(timeSlug("2023-12-13T16:22:40+00:00"), "2023-12-13t16-22-40-00-00");
  assertEquals(timeSlug("2020-07-10T18:00:00.123456"), "2020-07-10t18-00-00-123456");
  assertEquals(timeSlug("2026-01-01T00:00:00.5+01:00"), "2026-01-01t00-00-00-500000-01-00");
  assertEquals(timeSlug("2026-01-01T00:00:00.000000-05:00"), "2026-01-01t00-00-00-05-00");
});

Deno.test("timeSlug() refuses what is no time", () => {
  for (const text of ["", "yesterday", "2023-02-30T00:00:00", "2023-12-07"]) {
    assertThrows(() => timeSlug(text), InvalidSlugError);
  }
});

await fixtureTest("slugify() agrees with the fixtures", "slugs.json", async (path) => {
  const pairs: [string, string][] = JSON.parse(await Deno.readTextFile(path));
  for (const [text, slug] of pairs) {
    if (slug === "") assertThrows(() => slugify(text), InvalidSlugError);
    else assertEquals(slugify(text), slug, text);
  }
});
