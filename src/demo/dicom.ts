import { createHash } from "node:crypto";

/** What is drawn into a synthetic image. */
export interface DicomOptions {
  /** Stands for the patient and the study: at most 64 characters of ASCII, without a backslash. */
  readonly pseudonym: string;
  /** Number of the image in its series. @default {1} */
  readonly instance?: number;
}

/** Value representations whose length has four bytes (PS3.5 table 7.1-1), of those used here. */
const LONG = new Set(["OB"]);
const SIDE = 16;
const EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1";
const SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7";

/**
 * Makes a small synthetic image as a DICOM file (PS3.10): Secondary Capture, 16 × 16 pixels of grey, de-identified.
 *
 * @param options The pseudonym, and which image.
 * @returns The file: the same bytes for the same options.
 * @throws {RangeError} If the pseudonym cannot be a Patient ID.
 */
export function dicomFile(options: DicomOptions): Uint8Array<ArrayBuffer> {
  const { pseudonym, instance = 1 } = options;
  if (!/^[\x20-\x5b\x5d-\x7e]{1,64}$/.test(pseudonym)) {
    throw new RangeError("Cannot make an image as 'pseudonym' must be 1 to 64 characters of ASCII without a backslash");
  }
  const image = uid(`${pseudonym}/image/${instance}`);
  const meta = concat([
    element(0x0002, 0x0001, "OB", Uint8Array.of(0, 1)),
    element(0x0002, 0x0002, "UI", SECONDARY_CAPTURE),
    element(0x0002, 0x0003, "UI", image),
    element(0x0002, 0x0010, "UI", EXPLICIT_VR_LITTLE_ENDIAN),
    element(0x0002, 0x0012, "UI", uid("@pixl/core")),
    element(0x0002, 0x0013, "SH", "PIXL_CORE"),
  ]);
  return concat([
    new Uint8Array(128),
    new TextEncoder().encode("DICM"),
    element(0x0002, 0x0000, "UL", number(meta.length, 4)),
    meta,
    element(0x0008, 0x0005, "CS", "ISO_IR 192"),
    element(0x0008, 0x0008, "CS", "DERIVED\\SECONDARY"),
    element(0x0008, 0x0016, "UI", SECONDARY_CAPTURE),
    element(0x0008, 0x0018, "UI", image),
    element(0x0008, 0x0020, "DA", ""),
    element(0x0008, 0x0030, "TM", ""),
    element(0x0008, 0x0050, "SH", ""),
    element(0x0008, 0x0060, "CS", "OT"),
    element(0x0008, 0x0064, "CS", "SYN"),
    element(0x0008, 0x0090, "PN", ""),
    element(0x0010, 0x0010, "PN", pseudonym),
    element(0x0010, 0x0020, "LO", pseudonym),
    element(0x0010, 0x0030, "DA", ""),
    element(0x0010, 0x0040, "CS", ""),
    element(0x0012, 0x0062, "CS", "YES"),
    element(0x0012, 0x0063, "LO", "Synthetic image"),
    element(0x0020, 0x000d, "UI", uid(`${pseudonym}/study`)),
    element(0x0020, 0x000e, "UI", uid(`${pseudonym}/series`)),
    element(0x0020, 0x0010, "SH", ""),
    element(0x0020, 0x0011, "IS", "1"),
    element(0x0020, 0x0013, "IS", String(instance)),
    element(0x0020, 0x0020, "CS", ""),
    element(0x0020, 0x0060, "CS", ""),
    element(0x0028, 0x0002, "US", number(1, 2)),
    element(0x0028, 0x0004, "CS", "MONOCHROME2"),
    element(0x0028, 0x0010, "US", number(SIDE, 2)),
    element(0x0028, 0x0011, "US", number(SIDE, 2)),
    element(0x0028, 0x0100, "US", number(8, 2)),
    element(0x0028, 0x0101, "US", number(8, 2)),
    element(0x0028, 0x0102, "US", number(7, 2)),
    element(0x0028, 0x0103, "US", number(0, 2)),
    element(0x0028, 0x0301, "CS", "NO"),
    element(0x7fe0, 0x0010, "OB", pixels(`${pseudonym}/pixels/${instance}`)),
  ]);
}

/** PS3.5 section B.2: `2.25.` and a UUID as a number; here a UUID of version 8 (RFC 9562) made of a hash. */
function uid(name: string): string {
  const bytes = createHash("sha256").update(name).digest().subarray(0, 16);
  const hex = bytes.toString("hex");
  return `2.25.${BigInt(`0x${hex.slice(0, 12)}8${hex.slice(13, 16)}8${hex.slice(17)}`)}`;
}

function pixels(name: string): Uint8Array {
  const hash = createHash("sha256").update(name).digest();
  return Uint8Array.from({ length: SIDE * SIDE }, (_, index) => (hash[index % hash.length] ?? 0) ^ (index & 0xf0));
}

/** PS3.5 section 7.1.2, explicit VR; values have an even length, text is padded by a blank, a UID by a zero byte. */
function element(group: number, tag: number, vr: string, value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  const padding = Uint8Array.from({ length: bytes.length % 2 }, () => vr === "UI" || vr === "OB" ? 0 : 0x20);
  const length = bytes.length + padding.length;
  return concat([
    number(group, 2),
    number(tag, 2),
    new TextEncoder().encode(vr),
    LONG.has(vr) ? concat([new Uint8Array(2), number(length, 4)]) : number(length, 2),
    bytes,
    padding,
  ]);
}

function number(value: number, bytes: 2 | 4): Uint8Array {
  const view = new DataView(new ArrayBuffer(bytes));
  if (bytes === 2) view.setUint16(0, value, true);
  else view.setUint32(0, value, true);
  return new Uint8Array(view.buffer);
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all;
}
