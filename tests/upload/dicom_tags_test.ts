import { assertEquals, assertMatch, assertNotMatch, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type DicomTags, encodeTags, UploadError } from "../../src/upload/mod.ts";
import { HARMLESS_TAGS } from "../../src/upload/harmless_tags.ts";
import { IDENTIFYING_TAGS } from "../../src/upload/identifying_tags.ts";

const PSEUDONYM = "2.25.1";

function refusal(tags: unknown): UploadError {
  return assertThrows(() => encodeTags(tags as DicomTags, PSEUDONYM), UploadError);
}

/** Attributes that identify a person, a visit, a place or a device, or may hold anything, chosen from PS3.15 table E.1-1 and PS3.6. */
const IDENTIFYING = `
00080012 DA InstanceCreationDate
00080014 UI InstanceCreatorUID
00080018 UI SOPInstanceUID
00080020 DA StudyDate
00080030 TM StudyTime
0008002A DT AcquisitionDateTime
00080050 SH AccessionNumber
00080051 SQ IssuerOfAccessionNumberSequence
00080080 LO InstitutionName
00080081 ST InstitutionAddress
00080090 PN ReferringPhysicianName
00080096 SQ ReferringPhysicianIdentificationSequence
00080104 LO CodeMeaning
00081010 SH StationName
00081030 LO StudyDescription
0008103E LO SeriesDescription
00081040 LO InstitutionalDepartmentName
00081050 PN PerformingPhysicianName
00081070 PN OperatorsName
00081080 LO AdmittingDiagnosesDescription
00081155 UI ReferencedSOPInstanceUID
00081195 UI TransactionUID
00082111 ST DerivationDescription
00082112 SQ SourceImageSequence
00084000 LT IdentifyingComments
00100010 PN PatientName
00100021 LO IssuerOfPatientID
00100030 DA PatientBirthDate
00100032 TM PatientBirthTime
00100040 CS PatientSex
00101000 LO OtherPatientIDs
00101001 PN OtherPatientNames
00101002 SQ OtherPatientIDsSequence
00101010 AS PatientAge
00101030 DS PatientWeight
00101040 LO PatientAddress
00101081 LO BranchOfService
00101090 LO MedicalRecordLocator
00102000 LO MedicalAlerts
00102110 LO Allergies
00102154 SH PatientTelephoneNumbers
00102160 SH EthnicGroup
00102180 SH Occupation
001021A0 CS SmokingStatus
001021B0 LT AdditionalPatientHistory
001021F0 LO PatientReligiousPreference
00104000 LT PatientComments
00120040 LO ClinicalTrialSubjectID
00120042 LO ClinicalTrialSubjectReadingID
00181000 LO DeviceSerialNumber
00181002 UI DeviceUID
00181030 LO ProtocolName
00184000 LT AcquisitionComments
0020000E UI SeriesInstanceUID
00200010 SH StudyID
00200052 UI FrameOfReferenceUID
00204000 LT ImageComments
00209158 LT FrameComments
00284000 LT ImagePresentationComments
00321020 LO ScheduledStudyLocation
00321030 LO ReasonForStudy
00321032 PN RequestingPhysician
00321060 LO RequestedProcedureDescription
00324000 LT StudyComments
00380010 LO AdmissionID
00380062 LO ServiceEpisodeDescription
00380500 LO PatientState
00400009 SH ScheduledProcedureStepID
00400010 SH ScheduledStationName
00400011 SH ScheduledProcedureStepLocation
00400241 AE PerformedStationAETitle
00400242 SH PerformedStationName
00400253 SH PerformedProcedureStepID
00400254 LO PerformedProcedureStepDescription
00400275 SQ RequestAttributesSequence
00400280 ST CommentsOnThePerformedProcedureStep
00400310 ST CommentsOnRadiationDose
00400400 LT CommentsOnTheScheduledProcedureStep
00400555 SQ AcquisitionContextSequence
00401001 SH RequestedProcedureID
00401002 LO ReasonForTheRequestedProcedure
00401400 LT RequestedProcedureComments
00402001 LO ReasonForImagingServiceRequest
00402016 LO PlacerOrderNumberImagingServiceRequest
00402400 LT ImagingServiceRequestComments
00404037 PN HumanPerformerName
0040A123 PN PersonName
0040A160 UT TextValue
0040A730 SQ ContentSequence
00420011 OB EncapsulatedDocument
00880140 UI StorageMediaFileSetUID
00880200 SQ IconImageSequence
00880904 LO TopicTitle
00880910 LO TopicAuthor
04000561 SQ OriginalAttributesSequence
40000010 LT Arbitrary
7FE00010 OW PixelData
FFFAFFFA SQ DigitalSignaturesSequence`.trim().split("\n").map((line) => line.split(" "));

Deno.test("encodeTags() writes the DICOM JSON Model as it is", () => {
  const tags = {
    "00080060": { vr: "CS", Value: ["CT"] },
    "00080070": { vr: "LO", Value: ["SIEMENS"] },
    "0020000D": { vr: "UI", Value: [PSEUDONYM] },
    "00100020": { vr: "LO", Value: [PSEUDONYM] },
    "00280010": { vr: "US", Value: [512] },
    "00280106": { vr: "US" },
    "00289110": { vr: "SQ", Value: [{ "00280030": { vr: "DS", Value: [0.5, 0.5] } }] },
  };

  assertEquals(JSON.parse(encodeTags(tags, PSEUDONYM)), tags);
  assertEquals(JSON.parse(encodeTags([tags, tags], PSEUDONYM)), [tags, tags]);
});

Deno.test("encodeTags() refuses each identifying attribute by tag, wherever it stands, and never shows a value", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...IDENTIFYING),
      fc.nat(5),
      fc.constantFrom(undefined, "CS", "LO", "PN", "SQ", "UT"),
      ([tag = "", own = ""], depth, other) => {
        const vr = other ?? own;
        const value = vr === "SQ" ? {} : vr === "PN" ? { Alphabetic: "MRNSEED" } : "MRNSEED";
        let tags: DicomTags = { "00080060": { vr: "CS", Value: ["CT"] }, [tag]: { vr, Value: [value] } };
        for (let i = 0; i < depth; i++) tags = { "00289110": { vr: "SQ", Value: [tags] } };

        const error = refusal(tags);

        assertEquals([error.code, error.kind, error.retryable], ["identifying-tags", "input", false]);
        assertMatch(error.message, new RegExp(`\\(${tag}( \\w+)?\\)`));
        assertNotMatch(error.message, /MRNSEED/);
      },
    ),
    { numRuns: 2_000 },
  );
});

Deno.test("encodeTags() refuses every attribute that is not known", () => {
  fc.assert(fc.property(fc.nat(0xffffffff), fc.constantFrom("CS", "DS", "SQ"), (number, vr) => {
    const tag = number.toString(16).toUpperCase().padStart(8, "0");
    fc.pre(!HARMLESS_TAGS.has(tag) && !IDENTIFYING_TAGS.has(tag));

    assertStringIncludes(refusal({ [tag]: { vr } }).message, `(${tag})`);
  }));
});

Deno.test("encodeTags() refuses each attribute of PS3.15 table E.1-1 by its keyword", () => {
  assertEquals(IDENTIFYING_TAGS.size, 616);
  for (const [tag, keyword] of IDENTIFYING_TAGS) {
    const error = refusal({ [tag]: { vr: "LO", Value: ["MRNSEED"] } });

    assertStringIncludes(error.message, `(${tag} ${keyword})`);
    assertEquals(HARMLESS_TAGS.has(tag), false);
  }
});

Deno.test("HARMLESS_TAGS has no names, dates, times, UIDs, text or binary values, and nothing private", () => {
  const representations = new Set([...HARMLESS_TAGS.values()].flat());

  assertEquals([...representations].sort(), ["CS", "DS", "FD", "IS", "LO", "SH", "SQ", "SS", "UL", "US"]);
  for (const tag of HARMLESS_TAGS.keys()) assertMatch(tag, /^[0-9A-F]{3}[02468ACE][0-9A-F]{4}$/);
});

for (
  const [what, tags, tag] of [
    ["a private attribute", { "00091001": { vr: "LO", Value: ["x"] } }, "00091001"],
    ["a curve", { "50003000": { vr: "OW" } }, "50003000"],
    ["an overlay", { "60023000": { vr: "OW" } }, "60023000"],
    ["another Study Instance UID", { "0020000D": { vr: "UI", Value: ["1.2.3"] } }, "0020000D"],
    ["another Patient ID", { "00100020": { vr: "LO", Value: [PSEUDONYM, "MRNSEED"] } }, "00100020"],
    ["a Patient ID in binary", { "00100020": { vr: "UN", InlineBinary: "AAEC" } }, "00100020"],
    ["text in a harmless attribute", { "00080060": { vr: "LT", Value: ["MRNSEED"] } }, "00080060"],
    ["a name in a harmless attribute", { "00080060": { vr: "PN", Value: [{ Alphabetic: "MRNSEED" }] } }, "00080060"],
    ["a harmless attribute in binary", { "00080060": { vr: "CS", InlineBinary: "AAEC" } }, "00080060"],
  ] as const
) {
  Deno.test(`encodeTags() refuses ${what}`, () =>
    assertMatch(refusal(tags).message, new RegExp(`\\(${tag}( \\w+)?\\)`)));
}

Deno.test("encodeTags() names all that it refuses, once each", () => {
  const name = { vr: "PN", Value: [{ Alphabetic: "MRNSEED" }] };
  const error = refusal([{ "00100010": name, "00100030": { vr: "DA" } }, { "00100010": name }]);

  assertStringIncludes(error.message, "(00100010 PatientName, 00100030 PatientBirthDate)");
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
    ["a list in a sequence", { "00289110": { vr: "SQ", Value: [["MRNSEED"]] } }],
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
