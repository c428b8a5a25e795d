import ledger from "./0001_ledger.sql" with { type: "text" };
import queue from "./0002_queue.sql" with { type: "text" };
import sharedRate from "./0003_shared_rate.sql" with { type: "text" };
import uploadPart from "./0005_upload_part.sql" with { type: "text" };
import uploadClaim from "./0007_upload_claim.sql" with { type: "text" };

/** One step of the schema. Once released it is never edited: a change is a new step. */
export interface Migration {
  /** Sorts in the order of application. */
  readonly name: string;
  /** What it does, in the schema `pixl_pipeline`. */
  readonly sql: string;
}

/** All of them, in order. */
export const MIGRATIONS: readonly Migration[] = [
  { name: "0001_ledger", sql: ledger },
  { name: "0002_queue", sql: queue },
  { name: "0003_shared_rate", sql: sharedRate },
  { name: "0005_upload_part", sql: uploadPart },
  { name: "0007_upload_claim", sql: uploadClaim },
];
