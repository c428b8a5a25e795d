import { createHash } from "node:crypto";
import { join } from "node:path";
import { decodeMessage, type StudyMessage } from "../queue/mod.ts";
import { studyZip } from "./study_zip.ts";

/** How the simulated services behave. */
export interface SimulatedHospitalOptions {
  /** Where the imaging service leaves `<pseudonym>.zip`. */
  readonly imageDir: string;
  /** Every so many first requests fail with 503 (try again later) and with 500, so that retries are seen. @default {{ busy: 7, broken: 11 }} */
  readonly faults?: { readonly busy: number; readonly broken: number };
}

/** An imaging service and an EHR service on loopback, as far as a consumer sees them. */
export interface SimulatedHospital extends AsyncDisposable {
  /** Where each queue's studies are to be sent. */
  readonly urls: Readonly<Record<"pacs" | "ehr", URL>>;
}

/**
 * Starts the services.
 *
 * `POST /pacs` answers with a pseudonym and leaves a study zip, `POST /ehr` answers with a report. Both answer the same for the same study, however
 * often they are asked.
 *
 * @param options Where zips go.
 */
export function simulateHospital(options: SimulatedHospitalOptions): SimulatedHospital {
  const { imageDir, faults = { busy: 7, broken: 11 } } = options;
  const asked = new Set<string>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname } = new URL(request.url);
    const body = new Uint8Array(await request.arrayBuffer());
    const key = `${pathname} ${createHash("sha256").update(body).digest("hex")}`;
    if (!asked.has(key)) {
      asked.add(key);
      if (asked.size % faults.busy === 0) return new Response(null, { status: 503, headers: { "retry-after": "0" } });
      if (asked.size % faults.broken === 0) return new Response(null, { status: 500 });
    }
    const study = decodeMessage(body);
    if (pathname === "/pacs") return Response.json(await imaging(study, imageDir));
    if (pathname === "/ehr") return Response.json(report(study));
    return new Response(null, { status: 404 });
  });
  const url = (path: string) => new URL(path, `http://127.0.0.1:${server.addr.port}`);
  return {
    urls: { pacs: url("/pacs"), ehr: url("/ehr") },
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

async function imaging(study: StudyMessage, imageDir: string): Promise<{ pseudo_study_uid: string }> {
  const pseudonym = pseudonymOf(study);
  const path = join(imageDir, `${pseudonym}.zip`);
  const part = `${path}.${crypto.randomUUID()}.part`;
  await Deno.writeFile(part, studyZip(pseudonym), { mode: 0o600 });
  await Deno.rename(part, path);
  return { pseudo_study_uid: pseudonym };
}

function report(study: StudyMessage): { image_report: string } {
  return {
    image_report: `Report of procedure ${study.procedure_occurrence_id}: no abnormality seen. [XXXX] was examined.`,
  };
}

/** A UID in the root for UUIDs (PS3.5 section B.2): `2.25.` and 128 bits in decimal. */
function pseudonymOf({ project_name, mrn, accession_number }: StudyMessage): string {
  const hash = createHash("sha256").update(JSON.stringify([project_name, mrn, accession_number])).digest("hex");
  return `2.25.${BigInt(`0x${hash.slice(0, 32)}`)}`;
}
