import { UploadError } from "./errors.ts";
import { HARMLESS_TAGS } from "./harmless_tags.ts";
import { IDENTIFYING_TAGS } from "./identifying_tags.ts";

/** One attribute of the DICOM JSON Model, PS3.18 F.2.2: its value representation, and at most one of the three kinds of value. */
export interface DicomElement {
  /** Value representation, two capital letters (PS3.5 section 6.2). */
  readonly vr: string;
  /** Values; of a sequence (`SQ`) data sets. */
  readonly Value?: readonly unknown[];
  /** Base64. */
  readonly InlineBinary?: string;
  /** Where the value is. Refused: the address of a server inside the hospital does not leave it. */
  readonly BulkDataURI?: string;
}

/** A data set of the DICOM JSON Model, PS3.18 F.2: attributes by tag, eight hexadecimal digits in capitals. */
export type DicomTags = Readonly<Record<string, DicomElement>>;

/** Longest nesting of sequences. */
const MAX_DEPTH = 16;

const VR = /^(AE|AS|AT|CS|DA|DS|DT|FD|FL|IS|LO|LT|OB|OD|OF|OL|OV|OW|PN|SH|SL|SQ|SS|ST|SV|TM|UC|UI|UL|UN|UR|US|UT|UV)$/;

/** Study Instance UID and Patient ID. */
const PSEUDONYM_TAGS: readonly string[] = ["0020000D", "00100020"];

/**
 * Writes a study's tags as a DICOM JSON Model file (PS3.18 F.2), if none of them may identify a person.
 *
 * Only what is known to be harmless may be there, also within sequences: the attributes of {@linkcode HARMLESS_TAGS}, each with its own value
 * representation, and Study Instance UID and Patient ID if they are the pseudonym. Everything else is refused: names, identifiers, dates and times, other
 * UIDs, free text, private attributes and those that are not known.
 *
 * @param tags One data set, or one for each instance.
 * @param pseudonym The study's.
 * @returns JSON.
 * @throws {UploadError} `identifying-tags`, naming the attributes by tag and keyword, never their values; `invalid-tags` if it is not the DICOM JSON Model.
 *
 * @example
 * ```ts
 * import { encodeTags } from "@pixl/core/upload";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * assertEquals(encodeTags({ "00080060": { vr: "CS", Value: ["CT"] } }, "2.25.1"), '{"00080060":{"vr":"CS","Value":["CT"]}}');
 * assertThrows(() => encodeTags({ "00100010": { vr: "PN", Value: [{ Alphabetic: "A^B" }] } }, "2.25.1"), Error, "00100010");
 * ```
 */
export function encodeTags(tags: DicomTags | readonly DicomTags[], pseudonym: string): string {
  const refused = new Set<string>();
  for (const set of Array.isArray(tags) ? tags : [tags]) checkSet(set, pseudonym, refused, 0);
  if (refused.size > 0) {
    throw new UploadError(
      "identifying-tags",
      `Cannot send tags that may identify a person, or have another value representation than theirs (${
        Array.from(refused, nameOf).join(", ")
      }): take them out; those of HARMLESS_TAGS may be sent, and Study Instance UID and Patient ID if they are the pseudonym`,
    );
  }
  return JSON.stringify(tags);
}

function checkSet(set: unknown, pseudonym: string, refused: Set<string>, depth: number): void {
  if (depth > MAX_DEPTH) throw invalid("sequences are nested too deep");
  if (!isRecord(set)) throw invalid("a data set must be an object");
  for (const [tag, element] of Object.entries(set)) {
    if (!/^[0-9A-F]{8}$/.test(tag)) throw invalid("a tag must be eight hexadecimal digits in capitals");
    checkElement(tag, element, pseudonym, refused, depth);
  }
}

function checkElement(tag: string, element: unknown, pseudonym: string, refused: Set<string>, depth: number): void {
  if (!isRecord(element) || typeof element.vr !== "string" || !VR.test(element.vr)) {
    throw invalid(`${tag} must have a value representation 'vr'`);
  }
  const { vr, Value: values, ...others } = element;
  if (Object.keys(others).some((key) => key !== "InlineBinary")) {
    throw invalid(`${tag} may have 'vr', and 'Value' or 'InlineBinary'`);
  }
  if (values !== undefined && (!Array.isArray(values) || "InlineBinary" in others)) {
    throw invalid(`${tag} may have an array 'Value' or 'InlineBinary', not both`);
  }
  if (!mayLeave(tag, vr, element, pseudonym)) refused.add(tag);
  if (vr === "SQ") (values ?? []).forEach((item: unknown) => checkSet(item, pseudonym, refused, depth + 1));
  else if ((values ?? []).some((value: unknown) => isRecord(value) && vr !== "PN")) {
    throw invalid(`${tag} holds an object, which only a sequence may`);
  }
}

function mayLeave(
  tag: string,
  vr: string,
  element: Readonly<Record<string, unknown>>,
  pseudonym: string,
): boolean {
  if (PSEUDONYM_TAGS.includes(tag)) return isOnly(element, pseudonym);
  // In another representation it might hold anything.
  return HARMLESS_TAGS.get(tag)?.includes(vr) === true && !("InlineBinary" in element);
}

/** The tag, and the keyword of what is known to identify people. */
function nameOf(tag: string): string {
  const keyword = IDENTIFYING_TAGS.get(tag);
  return keyword === undefined ? tag : `${tag} ${keyword}`;
}

function isOnly({ Value: values, ...others }: Readonly<Record<string, unknown>>, pseudonym: string): boolean {
  if ("InlineBinary" in others) return false;
  return values === undefined || Array.isArray(values) && values.every((value) => value === pseudonym);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function invalid(problem: string): UploadError {
  return new UploadError("invalid-tags", `Cannot send tags: ${problem}, as in the DICOM JSON Model (PS3.18 F.2)`);
}
