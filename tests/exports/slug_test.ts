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
  ["Ŝanĝo ĉiu ĵaŭde", "sango-ciu-jaude"],
  ["Šťastný žluťoučký kůň", "stastny-zlutoucky-kun"],
  ["Việt Nam đồng", "viet-nam-dong"],
  ["Ísland Þór ðæ", "island-thor-dae"],
  ["Türkiye ığüşöç", "turkiye-igusoc"],
  ["Հայաստան", "hayastan"],
  ["ქართული", "k-art-uli"],
  ["עברית שלום", "bryt-shlvm"],
  ["العربية مرحبا", "l-rby-mrhb"],
  ["हिन्दी परीक्षण", "hindii-priikssnn"],
  ["ไทยแลนด์", "aithyaelnd"],
  ["한국어 시험", "hangugeo-siheom"],
  ["カタカナ テスト", "katakana-tesuto"],
  ["ひらがな", "hiragana"],
  ["汉字 测试", "yi-zi-ce-shi"],
  ["ትግርኛ", "tegerenyaa"],
  ["Монгол бичиг", "mongol-bichig"],
  ["ελληνικά τεστ", "ellenika-test"],
  ["Ærøskøbing", "aeroskobing"],
  ["Œuvre cœur", "oeuvre-coeur"],
  ["ß ẞ", "ss-ss"],
  ["ǅ ǆ", "dz-dz"],
  ["ﬃ ﬀ ﬆ", "ffi-ff-st"],
  ["①②③", "123"],
  ["²³¹", "231"],
  ["½ cup", "1-2-cup"],
  ["€100 £20 ¥5", "eur100-ps20-y-5"],
  ["©®™", "c-r-tm"],
  ["“quotes” ‘single’ «guillemets»", "quotes-single-guillemets"],
  ["it's John’s", "it-s-johns"],
  ["rock ’n’ roll", "rock-n-roll"],
  ["em—dash en–dash", "em-dash-en-dash"],
  ["a…b", "a-b"],
  ["a.b.c...d", "a-b-c-d"],
  ["v1.2.3-rc.1", "v1-2-3-rc-1"],
  ["  spaces\u00a0nbsp\u2003em ", "spaces-nbsp-em"],
  ["tab\tnl\n", "tab-nl"],
  ["&lt;b&gt;bold&lt;/b&gt;", "b-bold-b"],
  ["&quot;q&quot;", "q"],
  ["&nbsp;x&nbsp;", "x"],
  ["&copy; 2020", "2020"],
  ["&Eacute;t&eacute;", "e-te"],
  ["&#8217;s", "s"],
  ["&#x2019;s", "s"],
  ["&#xZZ;", "xzz"],
  ["&notanentity;", "notanentity"],
  ["&amp;amp;", "amp"],
  ["100%", "100"],
  ["1,000.50", "1000-50"],
  ["1,2,3", "123"],
  ["under__score", "under-score"],
  ["--a--b--", "a-b"],
  ["a'b''c", "a-b-c"],
  ["#1 & #2", "1-2"],
  ["C++ / C#", "c-c"],
  ["user@example.org", "user-example-org"],
  ["path\\to\\file", "path-to-file"],
  ["null\u0000byte", "null-byte"],
  ["\u200bzero\u200dwidth", "zerowidth"],
  ["e\u0301 combining", "e-combining"],
  ["Å vs Å", "a-vs-a"],
  ["ⅣⅧ Ⅻ", "ivviii-xii"],
  ["𝔘𝔫𝔦", "uni"],
  ["🙂 smile", "smile"],
  ["a🙂b", "ab"],
  ["Ångström µm °C", "angstrom-um-degc"],
  ["№ 7", "no-7"],
  ["UCLH—OMOP (v2) [final]", "uclh-omop-v2-final"],
  ["Naïve façade", "naive-facade"],
  ["smörgåsbord", "smorgasbord"],
  ["Đorđe", "dorde"],
  ["Łukasz Żółć", "lukasz-zolc"],
  ["Привет, мир!", "privet-mir"],
  ["Київ Їжак", "kiyiv-yizhak"],
  ["Беларусь Ў", "belarus-u"],
  ["Сърбија Љубљана", "srbija-ljubljana"],
  ["x".repeat(500), "x".repeat(500)],
  ["Ab ".repeat(150), Array(150).fill("ab").join("-")],
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
