import { createHash } from "node:crypto";
import { dayToNumber } from "../calendar.ts";
import { MalformedMessageError } from "./errors.ts";
import { plainFromJsonpickle } from "./jsonpickle.ts";
import { normaliseTimestamp } from "../timestamp.ts";

/** One study that is wanted: what travels on the queues, as JSON with these names. */
export interface StudyMessage {
  /** The hospital's number of the patient (medical record number). Identifies a person: never logged. */
  readonly mrn: string;
  /** The hospital's number of the study. Identifies a person: never logged. */
  readonly accession_number: string;
  /** Day of the study, `YYYY-MM-DD`. */
  readonly study_date: string;
  /** The OMOP id of the procedure, unique in its extract. */
  readonly procedure_occurrence_id: number;
  /** The project's slug. */
  readonly project_name: string;
  /** When the extract was made: ISO 8601, with the offset it was given with, or none. */
  readonly extract_generated_timestamp: string;
  /** DICOM Study Instance UID, where it is known beforehand. */
  readonly study_uid?: string;
  /** DICOM Series Instance UID, where only one series is wanted. */
  readonly series_uid?: string;
}

/** The longest body that is read, in bytes. A study message has about 300. */
export const MAX_BODY_BYTES = 1 << 20;

/** What messages of this version are. A later one that means something else will say so in a field `version`; this one leaves it out. */
const VERSION = 1;

/**
 * Checks a message and brings it into its one form: text trimmed, time stamp normalised, unknown fields dropped.
 *
 * @param value Anything.
 * @returns The message.
 * @throws {MalformedMessageError} Naming the first field that is wrong, never its value.
 *
 * @example
 * ```ts
 * import { checkMessage } from "@pixl/core/queue";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => checkMessage({ mrn: "" }), Error, "'mrn' must not be empty");
 * ```
 */
export function checkMessage(value: unknown): StudyMessage {
  if (typeof value !== "object" || value === null) throw new MalformedMessageError("it must be a JSON object");
  const fields = value as Fields;
  const message = {
    mrn: textOf(fields, "mrn", 256),
    accession_number: textOf(fields, "accession_number", 256),
    study_date: dayOf(fields, "study_date"),
    procedure_occurrence_id: wholeOf(fields, "procedure_occurrence_id"),
    project_name: slugOf(fields, "project_name"),
    extract_generated_timestamp: timestampOf(fields, "extract_generated_timestamp"),
  };
  const [study_uid, series_uid] = [uidOf(fields, "study_uid"), uidOf(fields, "series_uid")];
  return {
    ...message,
    ...(study_uid === undefined ? {} : { study_uid }),
    ...(series_uid === undefined ? {} : { series_uid }),
  };
}

/** What an object holds, by name. It is checked by hand: measured, a schema library took a fifth of all that a message costs its consumer. */
type Fields = Readonly<Record<string, unknown>>;

function wrong(fields: Fields, name: string, problem: string): MalformedMessageError {
  return new MalformedMessageError(`'${name}' ${fields[name] === undefined ? "is missing" : problem}`);
}

function stringOf(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value === "string") return value;
  throw wrong(fields, name, "must be text");
}

function textOf(fields: Fields, name: string, max: number): string {
  const text = stringOf(fields, name).trim();
  if (text === "") throw wrong(fields, name, "must not be empty");
  if (text.length > max) throw wrong(fields, name, `must have at most ${max} characters`);
  // deno-lint-ignore no-control-regex -- control characters are what it looks for
  if (/[\u0000-\u001f\u007f]/.test(text)) throw wrong(fields, name, "must not hold control characters");
  return text;
}

function dayOf(fields: Fields, name: string): string {
  const text = stringOf(fields, name);
  if (dayToNumber(text) === undefined) throw wrong(fields, name, "must be a date as YYYY-MM-DD");
  return text;
}

function wholeOf(fields: Fields, name: string): number {
  const value = fields[name];
  if (typeof value !== "number" || Number.isNaN(value)) throw wrong(fields, name, "must be a number");
  if (!Number.isSafeInteger(value)) throw wrong(fields, name, "must be a whole number");
  return value;
}

function slugOf(fields: Fields, name: string): string {
  const text = textOf(fields, name, 512);
  if (/^[a-z0-9]+(-[a-z0-9]+)*$/.test(text)) return text;
  throw wrong(fields, name, "must be a slug: a-z, 0-9 and single dashes");
}

function timestampOf(fields: Fields, name: string): string {
  const time = normaliseTimestamp(stringOf(fields, name));
  if (time === undefined) throw wrong(fields, name, "must be an ISO 8601 date and time");
  return time;
}

/** PS3.5 section 9.1: digits and dots, at most 64 characters. */
function uidOf(fields: Fields, name: string): string | undefined {
  if (fields[name] === undefined || fields[name] === null) return undefined;
  const text = textOf(fields, name, 64);
  if (/^[0-9]+(\.[0-9]+)*$/.test(text)) return text;
  throw wrong(fields, name, "must be a DICOM UID");
}

/**
 * Writes a message as the queues carry it: JSON in UTF-8.
 *
 * @param message The message.
 * @returns The body.
 * @throws {MalformedMessageError} If it could not be read again.
 */
export function encodeMessage(message: StudyMessage): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(checkMessage(message)));
}

/**
 * Reads a message from a queue, as this package or as the Python PIXL wrote it. Python's class names and pickled dates are data here: dates are
 * decoded, nothing is ever executed. Fields that are not known are passed over: a message that is moved keeps them, since its body is moved as it is.
 *
 * @param body UTF-8 JSON, at most 1 MiB.
 * @returns The message.
 * @throws {MalformedMessageError} If it is anything else.
 */
export function decodeMessage(body: Uint8Array): StudyMessage {
  if (body.length > MAX_BODY_BYTES) {
    throw new MalformedMessageError(`its body has ${body.length} bytes, more than ${MAX_BODY_BYTES}`);
  }
  const plain = readPlain(body);
  if (typeof plain !== "object" || plain === null || Array.isArray(plain)) {
    throw new MalformedMessageError("it must be a JSON object");
  }
  const { omop_es_timestamp, version = VERSION } = plain as Fields;
  if (version !== VERSION) {
    throw new MalformedMessageError(`'version' must be ${VERSION}: it was written for another version of PIXL`);
  }
  if (omop_es_timestamp === undefined) return checkMessage(plain);
  return checkMessage({ extract_generated_timestamp: omop_es_timestamp, ...plain });
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function readPlain(body: Uint8Array): unknown {
  let text: string;
  let value: unknown;
  try {
    text = utf8.decode(body);
    value = JSON.parse(text);
  } catch {
    // The parser's own message quotes the body, so it is not kept as the cause.
    throw new MalformedMessageError("it must be JSON in UTF-8");
  }
  // A tag could be spelled with escapes too, by others than Python.
  if (!text.includes("py/") && !text.includes("\\")) return value;
  try {
    return plainFromJsonpickle(value);
  } catch {
    // The stack overflows at some ten thousand levels.
    throw new MalformedMessageError("it is nested too deeply");
  }
}

/** Namespace of the ids below (RFC 9562 section 5.5): a random UUID, the same for good. */
const NAMESPACE = "9eccda23-8cfc-473f-a84c-a25b0ea70554";

/**
 * The id of a message: a UUIDv5 (RFC 9562) of its identifying fields, so that the same study asked for twice has the same id. A one-way hash, but
 * one of few possible inputs: fit for logs inside the hospital, not for the outside.
 *
 * @param message The message.
 * @returns A UUID in lower case.
 */
export function messageId(message: StudyMessage): string {
  const identity = [
    message.project_name,
    message.extract_generated_timestamp,
    message.mrn,
    message.accession_number,
    message.study_date,
    message.study_uid ?? "",
    message.series_uid ?? "",
    String(message.procedure_occurrence_id),
  ];
  const namespace = Uint8Array.fromHex(NAMESPACE.replaceAll("-", ""));
  const hash = createHash("sha1").update(namespace).update(JSON.stringify(identity)).digest();
  const bytes = new Uint8Array(hash.subarray(0, 16));
  const view = new DataView(bytes.buffer);
  view.setUint8(6, (view.getUint8(6) & 0x0f) | 0x50);
  view.setUint8(8, (view.getUint8(8) & 0x3f) | 0x80);
  const hex = bytes.toHex();
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
