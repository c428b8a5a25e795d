import unidecode from "unidecode";
import { normaliseTimestamp } from "../timestamp.ts";
import { InvalidSlugError } from "./errors.ts";
import { decodeEntities } from "./html_entities.ts";

const transliterate: (character: string) => string = unidecode;

/** Where the package's tables are older than those of Python's Unidecode 1.3, as far as a name is likely to hold the character. */
const CORRECTIONS = new Map(Object.entries({
  ...{ "№": "No. ", "™": "(tm)", "℠": "(sm)", "℗": "(p)", "℅": " c/o ", "℡": "TEL", "\u2126": "ohm" },
  ...{ "℁": " a/s ", "℆": " c/u ", "℮": "e", "Ⅎ": "F", "ⅎ": "f", "↉": " 0/3 ", "⁊": "", "ヿ": "" },
  ...{ "¼": " 1/4", "½": " 1/2", "¾": " 3/4", "⅐": " 1/7 ", "⅑": " 1/9 ", "⅒": " 1/10 " },
  ...{ "₰": "Pf", "₱": "P", "₲": "G", "₳": "A", "₴": "UAH", "₵": "C|", "₶": "L", "₷": "Sm" },
  ...{ "₸": "T", "₹": "Rs", "₺": "L", "₻": "M", "₼": "m", "₽": "R", "₾": "l", "₿": "BTC" },
  ...{ "し": "shi", "ち": "chi", "っ": "tsu", "つ": "tsu", "シ": "shi", "チ": "chi", "ッ": "tsu", "ツ": "tsu" },
  ...{ "א": "A", "ח": "H", "ך": "KH", "כ": "KH", "ק": "k", "־": "-", "Є": "Ie" },
  ...{ "㎂": "uA", "㎌": "uF", "㎍": "ug", "㎕": "ul", "㎛": "um", "㎣": "mm^3", "㎲": "us", "㎶": "uV", "㎼": "uW" },
}));

/** Letters and digits in circles, double-struck, bold and so on: the package lacks most, Unidecode has what they are compatible with. */
const STYLED =
  /[\u2071\u2090-\u209c\u2102-\u2149\u2460-\u24ff\u3251-\u325f\u32b1-\u32bf\u{1d400}-\u{1d6a3}\u{1d7ce}-\u{1d7ff}]/u;

/** One character at a time, since the package takes pairs such as `Ã©` for bytes of UTF-8; `[?]` is its word for "not in the tables". */
function toAscii(text: string): string {
  // deno-lint-ignore no-control-regex -- all that is not ASCII
  return text.replace(/[^\u0000-\u007f]/gu, (character) => {
    // Unidecode drops the control characters of Latin-1, where the package reads them as Windows-1252.
    if (character <= "\u009f") return "";
    const correction = CORRECTIONS.get(character) ?? whiteOnBlack(character);
    if (correction !== undefined) return correction;
    const ascii = transliterate(STYLED.test(character) ? plainForm(character) : character);
    return ascii.trimEnd() === "[?]" ? "" : ascii;
  });
}

/** What it is compatible with, if that is ASCII: Unidecode has no more. */
function plainForm(character: string): string {
  const plain = character.normalize("NFKD");
  return /^[ -~]+$/.test(plain) ? plain : character;
}

/** Numbers in black or double circles, U+24EB to U+24FF, which Unicode says to be compatible with nothing. */
function whiteOnBlack(character: string): string | undefined {
  const index = character.charCodeAt(0) - 0x24eb;
  if (index < 0 || index > 20) return undefined;
  return index === 20 ? "0" : String(index < 10 ? index + 11 : index - 9);
}

/**
 * Turns a project name into a folder name, as python-slugify 4 does, so that folders made by the Python PIXL and by this package are the same.
 *
 * @param text Any text: HTML's character references are decoded, other scripts are written in ASCII by Unidecode's tables, the rest becomes dashes.
 * @returns Lower-case ASCII letters, digits and single dashes; never empty, never with a dash at an end.
 * @throws {InvalidSlugError} If nothing is left, since an empty name would write into the parent folder.
 *
 * @example A project name
 * ```ts
 * import { slugify } from "@pixl/core/exports";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(slugify("Test Extract - UCLH OMOP CDM"), "test-extract-uclh-omop-cdm");
 * ```
 */
export function slugify(text: string): string {
  const plain = decodeEntities(toAscii(text.replace(/'+/g, "-"))).normalize("NFKD").toLowerCase();
  const slug = plain
    .replace(/'+/g, "")
    .replace(/(?<=\p{Nd}),(?=\p{Nd})/gu, "")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
  if (slug === "") throw new InvalidSlugError(text);
  return slug;
}

/**
 * Turns the time of an extract into its folder's name: that of Python's `isoformat()`, made a slug.
 *
 * @param timestamp ISO 8601, as in the extract's summary or on a message.
 * @returns The slug; times in the same zone sort as text.
 * @throws {InvalidSlugError} If it is not an ISO 8601 date and time.
 *
 * @example
 * ```ts
 * import { timeSlug } from "@pixl/core/exports";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(timeSlug("2020-06-10T18:00:00"), "2020-06-10t18-00-00");
 * assertEquals(timeSlug("2023-12-13T16:22:40Z"), "2023-12-13t16-22-40-00-00");
 * ```
 */
export function timeSlug(timestamp: string): string {
  const parts = /^([^.Z+]*T[^.Z+-]*)(?:\.(\d+))?(.*)$/.exec(normaliseTimestamp(timestamp) ?? "");
  if (parts === null) throw new InvalidSlugError(timestamp);
  const [, time = "", fraction, zone = ""] = parts;
  const micros = fraction === undefined ? "" : `.${fraction.padEnd(6, "0")}`;
  return slugify(`${time}${micros}${zone === "Z" ? "+00:00" : zone}`);
}
