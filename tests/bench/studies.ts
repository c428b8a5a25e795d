import { encodeMessage } from "@pixl/core/queue";

const BYTES = 250;

/** Messages of 250 bytes. */
export function* studies(count: number): Generator<{ messageId: string; body: Uint8Array }> {
  const study = {
    mrn: "M",
    accession_number: "A",
    study_date: "2020-02-29",
    procedure_occurrence_id: 0,
    project_name: "bench",
    extract_generated_timestamp: "2026-01-01T00:00:00",
  };
  const shortBy = BYTES - encodeMessage(study).length;
  for (let n = 0; n < count; n++) {
    const digits = String(n);
    const mrn = `M${"0".repeat(shortBy - digits.length)}${digits}`;
    yield { messageId: digits, body: encodeMessage({ ...study, mrn }) };
  }
}
