import { assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import {
  checkMessage,
  decodeMessage,
  encodeMessage,
  MalformedMessageError,
  messageId,
  type StudyMessage,
} from "@pixl/core/queue";
import { fixtureTest } from "../support/fixtures.ts";

const MESSAGE: StudyMessage = {
  mrn: "987654321",
  accession_number: "AA12345601",
  study_date: "2020-05-23",
  procedure_occurrence_id: 4,
  project_name: "test-extract-uclh-omop-cdm",
  extract_generated_timestamp: "2023-12-07T14:08:58",
};
const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("decodeMessage() reads what encodeMessage() wrote", () => {
  assertEquals(decodeMessage(encodeMessage(MESSAGE)), MESSAGE);
});

Deno.test("decodeMessage() reads the Python PIXL's jsonpickle of 2024 as plain data", () => {
  const body = {
    "py/object": "core.patient_queue.message.Message",
    mrn: MESSAGE.mrn,
    accession_number: MESSAGE.accession_number,
    study_date: { "py/object": "datetime.date", "__reduce__": [{ "py/type": "datetime.date" }, ["B+QFFw=="]] },
    procedure_occurrence_id: 4,
    project_name: MESSAGE.project_name,
    omop_es_timestamp: {
      "py/object": "datetime.datetime",
      "__reduce__": [{ "py/type": "datetime.datetime" }, ["B+cMBw4IOgAAAA=="]],
    },
  };

  assertEquals(decodeMessage(bytes(JSON.stringify(body))), MESSAGE);
});

Deno.test("decodeMessage() reads the Python PIXL's time zones and microseconds", () => {
  const utc = {
    "py/reduce": [{ "py/type": "datetime.timezone" }, {
      "py/tuple": [{ "py/reduce": [{ "py/type": "datetime.timedelta" }, { "py/tuple": [0, 0, 0] }] }],
    }],
  };
  const body = {
    ...MESSAGE,
    extract_generated_timestamp: {
      "py/object": "datetime.datetime",
      "__reduce__": [{ "py/type": "datetime.datetime" }, ["B+oGAQkeAAHoSA==", utc]],
    },
  };

  assertEquals(decodeMessage(bytes(JSON.stringify(body))).extract_generated_timestamp, "2026-06-01T09:30:00.125Z");
});

const WRONG: readonly [string, Record<string, unknown>, string][] = [
  ["an empty MRN", { mrn: "  " }, "'mrn' must not be empty"],
  ["a missing accession number", { accession_number: undefined }, "'accession_number' is missing"],
  ["a day that does not exist", { study_date: "2024-02-30" }, "'study_date' must be a date"],
  ["a fraction as id", { procedure_occurrence_id: 1.5 }, "'procedure_occurrence_id' must be a whole number"],
  ["a project that is no slug", { project_name: "../etc" }, "'project_name' must be a slug"],
  ...[
    "2023-12-07T25:00:00",
    "2023-12-07T24:00:00",
    "2023-12-07T14:60:00",
    "2023-12-07T14:08:60",
    "2023-02-29T14:08:58",
    "2023-12-07T14:08:58+24:00",
    "2023-12-07T14:08:58-0160",
    "2023-12-07T14:08:58.1234567",
  ].map((time): [string, Record<string, unknown>, string] => [
    `the time ${time}, which does not exist,`,
    { extract_generated_timestamp: time },
    "'extract_generated_timestamp' must be",
  ]),
  ["a UID with letters", { study_uid: "1.2.x" }, "'study_uid' must be a DICOM UID"],
];
for (const [what, change, problem] of WRONG) {
  Deno.test(`checkMessage() refuses ${what} and does not quote it`, () => {
    const error = assertThrows(() => checkMessage({ ...MESSAGE, ...change }), MalformedMessageError, problem);
    for (const value of Object.values(change)) {
      if (typeof value === "string" && value.trim() !== "") assertEquals(error.message.includes(value), false);
    }
  });
}

for (
  const [what, body] of [["no JSON", "{"], ["a list", "[]"], ["null", "null"], [
    "nested deeply",
    "[".repeat(20_000) + "]".repeat(20_000),
  ], ["not UTF-8", "\u00ff"]] as const
) {
  Deno.test(`decodeMessage() refuses a body that is ${what}`, () => {
    const raw = what === "not UTF-8" ? Uint8Array.of(0x22, 0xff, 0x22) : bytes(body);
    assertThrows(() => decodeMessage(raw), MalformedMessageError);
  });
}

await fixtureTest(
  "decodeMessage() reads the fixtures' messages of the Python PIXL",
  "pixl-python-messages.json",
  async (path) => {
    const messages: { body: string; expect: StudyMessage }[] = JSON.parse(await Deno.readTextFile(path));
    assertEquals(messages.map(({ body }) => decodeMessage(bytes(body))), messages.map(({ expect }) => expect));
  },
);

Deno.test("decodeMessage() reads version 1 and passes over fields that it does not know", () => {
  const body = { ...MESSAGE, version: 1, added_later: { "py/object": "os.system", "py/reduce": ["rm"] } };
  assertEquals(decodeMessage(bytes(JSON.stringify(body))), MESSAGE);
});

Deno.test("decodeMessage() knows Python's tags however JSON spells them", () => {
  const day = '{"p\\u0079/object": "datetime.date", "__reduce__": [{"py\\/type": "datetime.date"}, ["B+QFFw=="]]}';
  const body = JSON.stringify({ ...MESSAGE, study_date: null }).replace("null", day);
  assertEquals(decodeMessage(bytes(body)), MESSAGE);
});

for (const version of [0, 2, "1", null]) {
  Deno.test(`decodeMessage() refuses version ${JSON.stringify(version)}`, () => {
    const body = bytes(JSON.stringify({ ...MESSAGE, version }));
    assertThrows(() => decodeMessage(body), MalformedMessageError, "'version' must be 1");
  });
}

Deno.test("decodeMessage() refuses a body of more than 1 MiB", () => {
  assertThrows(() => decodeMessage(new Uint8Array((1 << 20) + 1)), MalformedMessageError, "1048577 bytes");
});

Deno.test("messageId() is a UUIDv5, the same for the same study and another for another", () => {
  assertMatch(messageId(MESSAGE), /^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assertEquals(messageId(MESSAGE), messageId({ ...MESSAGE }));
  assertNotEquals(messageId(MESSAGE), messageId({ ...MESSAGE, accession_number: "AA12345602" }));
});
