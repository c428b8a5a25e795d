import { assertEquals, assertNotMatch, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type DicomTags, encodeTags, UploadError } from "../../src/upload/mod.ts";
import { IDENTIFYING_TAGS } from "../../src/upload/identifying_tags.ts";

const PSEUDONYM = "2.25.1";

function refusal(tags: unknown): UploadError {
  return assertThrows(() => encodeTags(tags as DicomTags, PSEUDONYM), UploadError);
}

Deno.test("encodeTags() writes the DICOM JSON Model as it is", () => {
  const tags = {
    "00080060": { vr: "CS", Value: ["CT"] },
    "0020000D": { vr: "UI", Value: [PSEUDONYM] },
    "00100020": { vr: "LO", Value: [PSEUDONYM] },
    "00082112": { vr: "SQ", Value: [{ "00081150": { vr: "UI", Value: ["1.2.840.10008.5.1.4.1.1.2"] } }] },
    "00280106": { vr: "US" },
    "00282000": { vr: "OB", InlineBinary: "AAEC" },
  };

  assertEquals(JSON.parse(encodeTags(tags, PSEUDONYM)), tags);
  assertEquals(JSON.parse(encodeTags([tags, tags], PSEUDONYM)), [tags, tags]);
});

Deno.test("encodeTags() refuses each identifying attribute by name, wherever it stands, and never shows a value", () => {
  fc.assert(fc.property(
    fc.constantFrom(...IDENTIFYING_TAGS.entries()),
    fc.nat(5),
    fc.constantFrom("LO", "PN", "SQ", "UT"),
    ([tag, keyword], depth, vr) => {
      const value = vr === "SQ" ? {} : vr === "PN" ? { Alphabetic: "MRNSEED" } : "MRNSEED";
      let tags: DicomTags = { "00080060": { vr: "CS", Value: ["CT"] }, [tag]: { vr, Value: [value] } };
      for (let i = 0; i < depth; i++) tags = { "00082112": { vr: "SQ", Value: [tags] } };

      const error = refusal(tags);

      assertEquals([error.code, error.kind, error.retryable], ["identifying-tags", "input", false]);
      assertStringIncludes(error.message, `(${keyword})`);
      assertNotMatch(error.message, /MRNSEED/);
    },
  ));
});

for (
  const [what, tags, name] of [
    ["a person's name of any attribute", { "00404037": { vr: "PN" } }, "HumanPerformerName"],
    ["a person's name of an unknown attribute", { "0018A000": { vr: "PN" } }, "person name 0018A000"],
    ["a private attribute", { "00091001": { vr: "LO", Value: ["x"] } }, "private attribute 00091001"],
    ["a curve", { "50003000": { vr: "OW" } }, "curve 50003000"],
    ["an overlay", { "60023000": { vr: "OW" } }, "overlay 60023000"],
    ["another Study Instance UID", { "0020000D": { vr: "UI", Value: ["1.2.3"] } }, "StudyInstanceUID"],
    ["another Patient ID", { "00100020": { vr: "LO", Value: [PSEUDONYM, "MRNSEED"] } }, "PatientID"],
    ["a Patient ID in binary", { "00100020": { vr: "UN", InlineBinary: "AAEC" } }, "PatientID"],
  ] as const
) {
  Deno.test(`encodeTags() refuses ${what}`, () => assertStringIncludes(refusal(tags).message, `(${name})`));
}

Deno.test("encodeTags() names all that it refuses, once each", () => {
  const name = { vr: "PN", Value: [{ Alphabetic: "MRNSEED" }] };
  const error = refusal([{ "00100010": name, "00100030": { vr: "DA" } }, { "00100010": name }]);

  assertStringIncludes(error.message, "(PatientName, PatientBirthDate)");
});

for (
  const [what, tags] of [
    ["keywords for tags", { PatientSex: { vr: "CS", Value: ["F"] } }],
    ["small letters", { "0020000d": { vr: "UI" } }],
    ["a value without representation", { "00080060": { Value: ["CT"] } }],
    ["an unknown representation", { "00080060": { vr: "XX" } }],
    ["a bare value", { "00080060": "CT" }],
    ["a single value", { "00080060": { vr: "CS", Value: "CT" } }],
    ["two kinds of value", { "00080060": { vr: "OB", Value: [], InlineBinary: "" } }],
    ["an address", { "7FE00010": { vr: "OW", BulkDataURI: "http://orthanc/MRNSEED" } }],
    ["a data set outside a sequence", { "00080060": { vr: "LO", Value: [{ "00100010": { vr: "PN" } }] } }],
    ["a list in a sequence", { "00082112": { vr: "SQ", Value: [["MRNSEED"]] } }],
    ["null", null],
    ["a list of lists", [[]]],
  ] as const
) {
  Deno.test(`encodeTags() says that ${what} is not the DICOM JSON Model`, () => {
    const error = refusal(tags);

    assertEquals(error.code, "invalid-tags");
    assertNotMatch(error.message, /MRNSEED/);
  });
}
