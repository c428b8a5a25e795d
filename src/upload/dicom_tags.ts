import { UploadError } from "./errors.ts";
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

/** Study Instance UID and Patient ID: the two that may be there, as the pseudonym. */
const MAY_BE_PSEUDONYM: ReadonlyMap<string, string> = new Map([
  ["0020000D", "StudyInstanceUID"],
  ["00100020", "PatientID"],
]);

/**
 * Writes a study's tags as a DICOM JSON Model file (PS3.18 F.2), if none of them identifies a person.
 *
 * Refused are the attributes of PS3.15 table E.1-1 that do (by name: patient, physicians, addresses, identifiers, comments), person names (`PN`) of any
 * attribute, private attributes, curves and overlay comments, also within sequences. Study Instance UID and Patient ID may be there if they are the
 * pseudonym.
 *
 * @param tags One data set, or one for each instance.
 * @param pseudonym The study's.
 * @returns JSON.
 * @throws {UploadError} `identifying-tags`, naming the attributes and never their values; `invalid-tags` if it is not the DICOM JSON Model.
 *
 * @example
 * ```ts
 * import { encodeTags } from "@pixl/core/upload";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * assertEquals(encodeTags({ "00080060": { vr: "CS", Value: ["CT"] } }, "2.25.1"), '{"00080060":{"vr":"CS","Value":["CT"]}}');
 * assertThrows(() => encodeTags({ "00100010": { vr: "PN", Value: [{ Alphabetic: "A^B" }] } }, "2.25.1"), Error, "PatientName");
 * ```
 */
export function encodeTags(tags: DicomTags | readonly DicomTags[], pseudonym: string): string {
  const refused = new Set<string>();
  for (const set of Array.isArray(tags) ? tags : [tags]) checkSet(set, pseudonym, refused, 0);
  if (refused.size > 0) {
    throw new UploadError(
      "identifying-tags",
      `Cannot send tags that may identify a person (${
        [...refused].join(", ")
      }): take them out, as PS3.15 table E.1-1 has it`,
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
  const name = nameOfIdentifying(tag, vr, element, pseudonym);
  if (name !== undefined) refused.add(name);
  if (vr === "SQ") (values ?? []).forEach((item: unknown) => checkSet(item, pseudonym, refused, depth + 1));
  else if ((values ?? []).some((value: unknown) => isRecord(value) && vr !== "PN")) {
    throw invalid(`${tag} holds an object, which only a sequence may`);
  }
}

function nameOfIdentifying(
  tag: string,
  vr: string,
  element: Readonly<Record<string, unknown>>,
  pseudonym: string,
): string | undefined {
  const own = MAY_BE_PSEUDONYM.get(tag);
  if (own !== undefined) return isOnly(element, pseudonym) ? undefined : own;
  const keyword = IDENTIFYING_TAGS.get(tag);
  if (keyword !== undefined) return keyword;
  if (Number.parseInt(tag.slice(3, 4), 16) % 2 === 1) return `private attribute ${tag}`;
  if (/^50/.test(tag)) return `curve ${tag}`;
  if (/^60..(3000|4000)$/.test(tag)) return `overlay ${tag}`;
  return vr === "PN" ? `person name ${tag}` : undefined;
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
