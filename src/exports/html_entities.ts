/** HTML 4.01 section 24.2.1: the names of U+00A0 to U+00FF, in their order. */
const LATIN_1 =
  "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 " +
  "acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig " +
  "Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave " +
  "Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave " +
  "iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml";

/** Sections 24.3.1 and 24.4.1: the names of what no ASCII letter or digit is part of. In a slug all of them become a dash. */
const SYMBOLS =
  "quot lt gt OElig oelig fnof circ tilde Alpha Beta Gamma Delta Epsilon Zeta Eta Theta Iota Kappa Lambda Mu Nu " +
  "Xi Omicron Pi Rho Sigma Tau Upsilon Phi Chi Psi Omega alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu " +
  "nu xi omicron pi rho sigmaf sigma tau upsilon phi chi psi omega thetasym upsih piv ensp emsp thinsp zwnj zwj lrm rlm ndash " +
  "mdash lsquo rsquo sbquo ldquo rdquo bdquo dagger Dagger bull hellip permil prime Prime lsaquo rsaquo oline frasl euro " +
  "weierp alefsym larr uarr rarr darr harr crarr lArr uArr rArr dArr hArr forall part exist empty nabla isin notin ni prod sum " +
  "minus lowast radic prop infin ang and or cap cup int there4 sim cong asymp ne equiv le ge sub sup nsub sube supe oplus " +
  "otimes perp sdot lceil rceil lfloor rfloor lang rang loz spades clubs hearts diams";

const NAMED = new Map<string, string>([
  ...LATIN_1.split(" ").map((name, index): [string, string] => [name, String.fromCharCode(0xa0 + index)]),
  ...SYMBOLS.split(" ").map((name): [string, string] => [name, "-"]),
  ["amp", "&"],
  ["Scaron", "Š"],
  ["scaron", "š"],
  ["Yuml", "Ÿ"],
  ["image", "ℑ"],
  ["real", "ℜ"],
  ["trade", "™"],
]);

/** As Python's `chr()`, which python-slugify calls: one number that is no code point, and none of the text is decoded. */
function decodeNumbers(text: string, pattern: RegExp, base: number): string {
  const isCodePoint = (digits: string) => Number.parseInt(digits, base) <= 0x10ffff;
  if (!text.matchAll(pattern).every(([, digits = ""]) => isCodePoint(digits))) return text;
  return text.replace(pattern, (_, digits: string) => String.fromCodePoint(Number.parseInt(digits, base)));
}

/**
 * Decodes HTML's character references as far as a slug depends on them, in python-slugify's order: names of HTML 4, decimal, hexadecimal. A
 * reference without its semicolon stays as it is.
 *
 * @param text ASCII text.
 * @returns The text; a symbol without a letter or digit in it is a dash.
 */
export function decodeEntities(text: string): string {
  const named = text.replace(/&(\w+);/g, (reference, name: string) => NAMED.get(name) ?? reference);
  return decodeNumbers(decodeNumbers(named, /&#(\d+);/g, 10), /&#x([\da-fA-F]+);/g, 16);
}
