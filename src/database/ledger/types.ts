import type { Queryable } from "../sql.ts";

/** What is fetched of a study: its images, or its radiology report. */
export type StudyKind = "image" | "report";

/** What identifies a study within a project's extract. The names are those of the messages on the queues. */
export interface StudyKey {
  /** The hospital's number of the patient. Identifies a person. */
  readonly mrn: string;
  /** The hospital's number of the study. Identifies a person. */
  readonly accession_number: string;
  /** `YYYY-MM-DD`. */
  readonly study_date: string;
  /** The project's slug. */
  readonly project_name: string;
  /** ISO 8601, normalised: it is compared as text. */
  readonly extract_generated_timestamp: string;
}

/** A study whose message became a dead letter. */
export interface DeadStudy extends StudyKey {
  /** When, ISO 8601. */
  readonly diedAt: string;
}

/** A study that an extract asks for. */
export interface Study extends StudyKey {
  /** The OMOP id of the procedure. */
  readonly procedure_occurrence_id: number;
  /** DICOM Study Instance UID, where it is known. */
  readonly study_uid?: string;
}

/** A study whose message is still to be published. */
export interface UnpublishedStudy extends Study {
  /** For {@linkcode Ledger.markPublished}. */
  readonly id: number;
}

/** Options of every call. */
export interface LedgerCall {
  /** Ends the wait with its reason. What the database has begun, it may still finish. */
  readonly signal?: AbortSignal;
  /** An open transaction to be part of. @default {the pool} */
  readonly transaction?: Queryable;
}

/** One extract of a project. */
export interface Extract {
  /** Its row. */
  readonly extractId: number;
  /** The project's folder name. */
  readonly projectSlug: string;
  /** As the extract has it. */
  readonly projectName: string;
  /** ISO 8601. */
  readonly extractTime: string;
  /** The extract's folder name. */
  readonly timeSlug: string;
  /** How its tables lay in its folder, as `NewExtract.layout` said. */
  readonly layout?: string;
  /** How many studies it asks for; 0 until all are registered. */
  readonly studies: number;
  /** How many procedures are no study, by reason; empty until all are registered. */
  readonly leftOut: Readonly<Record<string, number>>;
}

/** What {@linkcode Ledger.registerStudies} found. Together they are the studies that were given. */
export interface Registration {
  /** Not known before. */
  readonly added: number;
  /** Known, by another extract or given twice, and not yet exported. */
  readonly known: number;
  /** Known, and the images have left already. */
  readonly exported: number;
}

/** Who works on a study and for how long it is theirs. */
export interface Lease {
  /** Unique to this piece of work, not only to the process: a late finisher is told from its successor by it. */
  readonly owner: string;
  /** After so many milliseconds without {@linkcode Ledger.renew} anyone may take it over. */
  readonly leaseMs: number;
}

/** The answer to {@linkcode Ledger.claim}. */
export type Claim =
  | {
    /** It is yours. */
    readonly result: "claimed";
    /** The row to finish. */
    readonly id: number;
    /** How often it was claimed, this time included. */
    readonly attempt: number;
  }
  | {
    /** Nothing is left to do. */
    readonly result: "done";
  }
  | {
    /** Someone else has it. */
    readonly result: "busy";
    /** Their lease runs out in so many milliseconds, if they do not renew it. */
    readonly forMs: number;
  }
  | {
    /** It was never registered. */
    readonly result: "unknown";
  };

/** Images that are de-identified and wait for their upload. */
export interface ImageToUpload {
  /** The row. */
  readonly imageId: number;
  /** The project's slug. */
  readonly projectSlug: string;
  /** Their pseudonym. */
  readonly pseudo_study_uid: string;
}

/** One line of the radiology export. */
export interface ReportRow {
  /** The OMOP id of the procedure. */
  readonly procedure_occurrence_id: number;
  /** The pseudonym of the study's images; `null` while they have none. */
  readonly image_identifier: string | null;
  /** The de-identified text. */
  readonly image_report: string | null;
}

/** A file that a destination confirmed. */
export interface Transfer {
  /** The extract that it belongs to, if any. */
  readonly extractId?: number;
  /** The study that it holds, if any. */
  readonly imageId?: number;
  /** The destination's name. */
  readonly destination: string;
  /** Path there. */
  readonly path: string;
  /** Its size. */
  readonly bytes: number;
  /** 64 lower-case hexadecimal digits. */
  readonly sha256: string;
  /** How the destination's copy was checked, such as `size` or `sha256`. */
  readonly verifiedBy: string;
  /** Of this package. */
  readonly version: string;
}

/** A transfer as it is kept. */
export interface RecordedTransfer extends Transfer {
  /** The row. */
  readonly transferId: number;
  /** When, as PostgreSQL writes it, in UTC. */
  readonly transferredAt: string;
}

/** How far a transfer came; see `PartRecord` of the upload. */
export interface PartNote {
  /** Name of the unfinished file. */
  readonly name: string;
  /** Size and time of last change of its source. */
  readonly source: string;
  /** Bytes from the start that were handed over. */
  readonly bytes: number;
  /** SHA-256 of these, 64 lower-case hexadecimal digits. */
  readonly sha256: string;
}

/** An image that has a pseudonym. */
export interface KnownImage extends ImageToUpload {
  /** `done`, `exported`, or what it was set back to. */
  readonly state: string;
}

/** How many studies are in a state. */
export interface StateCount {
  /** The project's slug. */
  readonly projectSlug: string;
  /** Images or reports. */
  readonly kind: StudyKind;
  /** `queued`, `working`, `done`, `exported` or `failed`. */
  readonly state: string;
  /** At least 1. */
  readonly count: number;
}

/** What became of one study of one project. Holds no MRN and no accession number. */
export interface StudyHistory {
  /** The project's slug. */
  readonly projectSlug: string;
  /** Day of the study, `YYYY-MM-DD`: tells studies of one accession number apart. */
  readonly study_date: string;
  /** Of its images: `queued`, `working`, `done`, `exported` or `failed`. */
  readonly state: string;
  /** How often its images were asked for. */
  readonly attempts: number;
  /** What the last attempt failed of. */
  readonly lastError?: string;
  /** Its pseudonym, once there is one. */
  readonly pseudo_study_uid?: string;
  /** When its images left, as PostgreSQL writes it, in UTC; so are all times here. */
  readonly exportedAt?: string;
  /** Its radiology report, in each extract. */
  readonly reports: readonly ReportHistory[];
  /** Every publication and every change of state, oldest first. */
  readonly events: readonly StudyEvent[];
  /** Every file of it that left, oldest first. */
  readonly transfers: readonly StudyTransfer[];
}

/** A study's report in one extract. */
export interface ReportHistory {
  /** ISO 8601. */
  readonly extractTime: string;
  /** The OMOP id of the procedure. */
  readonly procedure_occurrence_id: number;
  /** `queued`, `working`, `done` or `failed`. */
  readonly state: string;
  /** How often it was asked for. */
  readonly attempts: number;
  /** What the last attempt failed of. */
  readonly lastError?: string;
}

/** A change of a study's state. */
export interface StudyEvent {
  /** When. */
  readonly at: string;
  /** Such as `image working`. */
  readonly what: string;
  /** Who did it. */
  readonly consumer?: string;
  /** Why. */
  readonly detail?: string;
}

/** A file of a study that left. */
export interface StudyTransfer {
  /** The destination's name. */
  readonly destination: string;
  /** Path there. */
  readonly path: string;
  /** Its size. */
  readonly bytes: number;
  /** 64 lower-case hexadecimal digits. */
  readonly sha256: string;
  /** How the destination's copy was checked. */
  readonly verifiedBy: string;
  /** Of this package. */
  readonly version: string;
  /** When. */
  readonly transferredAt: string;
}

/** How many studies of a project failed for one reason. */
export interface FailureCount {
  /** Images or reports. */
  readonly kind: StudyKind;
  /** As the dead letter has it. */
  readonly reason: string;
  /** At least 1. */
  readonly count: number;
}

/** What of a project left for one destination on one day. */
export interface SentCount {
  /** The destination's name. */
  readonly destination: string;
  /** `YYYY-MM-DD`, in UTC. */
  readonly day: string;
  /** Files. */
  readonly files: number;
  /** Their sizes together. */
  readonly bytes: number;
}

/** A study that is not finished: its images have not left, or its report is not there. */
export interface UnfinishedStudy {
  /** What is missing. */
  readonly kind: StudyKind;
  /** The OMOP id of the procedure. */
  readonly procedure_occurrence_id: number;
  /** ISO 8601: the extract that asks for it. */
  readonly extractTime: string;
  /** `queued`, `working`, `failed`, or `done`: images that wait for their upload. */
  readonly state: string;
  /** How often it was asked for. */
  readonly attempts: number;
  /** What the last attempt failed of. */
  readonly lastError?: string;
}

/** Which studies {@linkcode Ledger.republish} takes: those that failed; or these and all that wait, or are in hands that gave no sign of life. */
export type RepublishScope = "failed" | "unfinished";
