import * as v from "valibot";
import { DatabaseError, type Lease, type Ledger, type StudyKind } from "../database/mod.ts";
import { PixlError } from "../errors.ts";
import type { Handler, HandlerContext, Outcome, StudyMessage } from "../queue/mod.ts";
import { keepLease } from "./kept_lease.ts";
import type { StudyService } from "./study_service.ts";

/** How studies are worked on. */
export interface StudyHandlerOptions {
  /** Names this consumer in the ledger; unique among all that run. */
  readonly owner: string;
  /** For how long the ledger keeps a study for a consumer that shows no sign of life, in milliseconds. @default {15_000} */
  readonly leaseMs?: number;
}

/** A pseudonym becomes a file name at the Data Safe Haven, so it holds nothing that could lead out of a folder. */
const imageReply = v.object({
  pseudo_study_uid: v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/)),
});

const reportReply = v.object({ image_report: v.string() });

/** Of an identifier that is shorter, a UID holds the digits now and then by chance. */
const SHORTEST_IN_A_UID = 8;

/** Whether a pseudonym is, or holds, what it stands for: it becomes a file name at the Data Safe Haven. */
function namesPatient(pseudonym: string, { mrn, accession_number }: StudyMessage): boolean {
  const text = pseudonym.toLowerCase();
  return [mrn, accession_number].map((id) => id.toLowerCase()).some((id) =>
    text === id || (id.length >= SHORTEST_IN_A_UID && text.includes(id))
  );
}

/** Pause after the ledger could not be reached, in milliseconds. */
const LEDGER_PAUSE_MS = 5_000;

/**
 * Joins a service with the ledger: each study is claimed, asked for, and its reply recorded, so that a message that comes twice has its effect once.
 *
 * @param ledger Where every study's state is kept.
 * @param kind What is asked for.
 * @param service Who is asked. For images it replies with `pseudo_study_uid`, for reports with `image_report`.
 * @param options The consumer's name and its lease.
 * @returns A handler for {@linkcode consume}.
 */
export function studyHandler(
  ledger: Ledger,
  kind: StudyKind,
  service: StudyService,
  options: StudyHandlerOptions,
): Handler {
  return async (message, context) => {
    // Unique to this attempt, so that a late finisher is told from its successor.
    const lease = { owner: `${options.owner}/${crypto.randomUUID()}`, leaseMs: options.leaseMs ?? 15_000 };
    const { signal } = context;
    try {
      const claim = await ledger.claim(kind, message, lease, { signal });
      switch (claim.result) {
        case "done":
          return { kind: "done" };
        case "busy":
          return { kind: "requeue", reason: "another consumer has the study in hand", afterMs: claim.forMs };
        case "unknown":
          return { kind: "discard", reason: "the ledger does not know this study: populate its extract first" };
        case "claimed":
          return await work(claim.id, lease, message, context);
      }
    } catch (error) {
      if (error instanceof PixlError && error.kind === "unavailable" && !signal.aborted) {
        return { kind: "requeue", reason: `the ledger is out of reach (${error.code})`, afterMs: LEDGER_PAUSE_MS };
      }
      throw error;
    }
  };

  async function work(id: number, lease: Lease, message: StudyMessage, context: HandlerContext): Promise<Outcome> {
    await using kept = keepLease(lease.leaseMs, (call) => ledger.renew(kind, id, lease, call));
    const signal = AbortSignal.any([context.signal, kept.lost]);
    let outcome: Outcome;
    try {
      const answer = await service(message, { ...context, signal });
      outcome = answer.kind === "done" ? await record(id, lease.owner, message, answer.reply) : answer;
    } catch (error) {
      // The error that stopped the work says more than one of putting it back would; the lease runs out by itself.
      if (!kept.lost.aborted) await ledger.putBack(kind, id, lease.owner, "stopped").catch(() => {});
      throw error;
    }
    if (outcome.kind !== "done") await ledger.putBack(kind, id, lease.owner, outcome.reason);
    return outcome;
  }

  async function record(id: number, owner: string, study: StudyMessage, reply: unknown): Promise<Outcome> {
    if (kind === "image") {
      const image = v.safeParse(imageReply, reply);
      if (!image.success) return { kind: "retry", reason: "the reply has no usable 'pseudo_study_uid'" };
      const { pseudo_study_uid } = image.output;
      if (namesPatient(pseudo_study_uid, study)) {
        return { kind: "discard", reason: "the reply's 'pseudo_study_uid' holds the MRN or the accession number" };
      }
      try {
        await ledger.recordPseudonym(id, owner, pseudo_study_uid);
      } catch (error) {
        // Asking the hospital again would change nothing.
        if (!(error instanceof DatabaseError) || error.code !== "value-refused") throw error;
        return { kind: "discard", reason: "the reply's 'pseudo_study_uid' is that of another study" };
      }
    } else {
      const report = v.safeParse(reportReply, reply);
      if (!report.success) return { kind: "retry", reason: "the reply has no 'image_report'" };
      await ledger.recordReport(id, owner, report.output.image_report);
    }
    await ledger.complete(kind, id, owner);
    return { kind: "done" };
  }
}
