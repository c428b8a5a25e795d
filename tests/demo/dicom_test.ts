import { assert, assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import { unzipSync } from "fflate";
import { dicomFile } from "../../src/demo/dicom.ts";
import { studyZip } from "../../src/demo/study_zip.ts";

/** Reads explicit VR little endian (PS3.5 section 7.1.2) by its own lengths, so that a wrong one shows. */
function elements(file: Uint8Array): Map<string, { vr: string; value: Uint8Array }> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const found = new Map<string, { vr: string; value: Uint8Array }>();
  let offset = 132;
  while (offset < file.length) {
    const tag = [0, 2].map((at) => view.getUint16(offset + at, true).toString(16).padStart(4, "0")).join("");
    const vr = new TextDecoder().decode(file.subarray(offset + 4, offset + 6));
    const long = ["OB", "OW", "SQ", "UN", "UT"].includes(vr);
    const length = long ? view.getUint32(offset + 8, true) : view.getUint16(offset + 6, true);
    offset += long ? 12 : 8;
    assertEquals(length % 2, 0, tag);
    found.set(tag, { vr, value: file.subarray(offset, offset + length) });
    offset += length;
  }
  assertEquals(offset, file.length);
  return found;
}

function text(file: Uint8Array, tag: string): string {
  return new TextDecoder().decode(elements(file).get(tag)?.value).replace(/[ \0]$/, "");
}

Deno.test("dicomFile() is a file of PS3.10 with tags in order", () => {
  const file = dicomFile({ pseudonym: "pseudonym-1" });
  assertEquals(file.subarray(0, 128), new Uint8Array(128));
  assertEquals(new TextDecoder().decode(file.subarray(128, 132)), "DICM");
  const tags = [...elements(file).keys()];
  assertEquals(tags, [...tags].sort());
});

Deno.test("dicomFile() has the right group length", () => {
  const file = dicomFile({ pseudonym: "pseudonym-1" });
  const view = new DataView(file.buffer);
  const end = 132 + 12 + view.getUint32(132 + 8, true);
  assertEquals([view.getUint16(end, true), view.getUint16(end + 2, true)], [0x0008, 0x0005]);
});

Deno.test("dicomFile() is named by the pseudonym and says that it is de-identified", () => {
  const file = dicomFile({ pseudonym: "pseudonym-1" });
  assertEquals(text(file, "00100020"), "pseudonym-1");
  assertEquals(text(file, "00100010"), "pseudonym-1");
  assertEquals(text(file, "00120062"), "YES");
  assertEquals(text(file, "00080050"), "");
  assertEquals(elements(file).get("7fe00010")?.value.length, 256);
});

Deno.test("dicomFile() has valid UIDs, of the study from the pseudonym, of the image from its number as well", () => {
  const files = [{ pseudonym: "a" }, { pseudonym: "a", instance: 2 }, { pseudonym: "b" }].map(dicomFile);
  const uids = (tag: string) => files.map((file) => text(file, tag));
  for (const uid of ["00080018", "0020000d", "0020000e"].flatMap(uids)) {
    assertMatch(uid, /^2\.25\.[1-9][0-9]{0,38}$/);
    assert(BigInt(uid.slice(5)) < 2n ** 128n);
  }
  const [first, second, other] = uids("0020000d");
  assertEquals(first, second);
  assertNotEquals(first, other);
  assertEquals(new Set(uids("00080018")).size, 3);
  assertEquals(uids("00020003"), uids("00080018"));
});

Deno.test("dicomFile() refuses what cannot be a Patient ID", () => {
  for (const pseudonym of ["", "a\\b", "é", "a\n", "x".repeat(65)]) {
    assertThrows(() => dicomFile({ pseudonym }), RangeError);
  }
  assertEquals(text(dicomFile({ pseudonym: "x".repeat(64) }), "00100020").length, 64);
});

Deno.test("studyZip() holds the image and is the same every time", () => {
  const zip = studyZip("pseudonym-1");
  assertEquals(unzipSync(zip), { "image-1.dcm": dicomFile({ pseudonym: "pseudonym-1" }) });
  assertEquals(studyZip("pseudonym-1"), zip);
});
