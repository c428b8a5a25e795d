import type { DeadStudy, Ledger, StudyKind } from "../database/mod.ts";
import {
  type Broker,
  type DeadLetterSelection,
  decodeMessage,
  type KeptMessage,
  MalformedMessageError,
  retryDeadLetters,
  type StudyMessage,
} from "../queue/mod.ts";

/** Stops a task. */
interface Abortable {
  /** Its reason is thrown. */
  readonly signal?: AbortSignal;
}

/**
 * Puts dead letters on their queue again, and lets their studies wait in the ledger. The ledger first: what failed anew meanwhile would otherwise wait there
 * for ever.
 *
 * @param ledger Has the studies' states.
 * @param broker Has the queue, which was declared.
 * @param queue Its name.
 * @param kind What it is for.
 * @param selection Which dead letters.
 * @param options A signal.
 * @returns How many dead letters; those that are no study messages will be so again.
 */
export function retryDead(
  ledger: Ledger,
  broker: Broker,
  queue: string,
  kind: StudyKind,
  selection: DeadLetterSelection,
  options: Abortable = {},
): Promise<number> {
  const before = async (letters: readonly KeptMessage[]) => {
    await ledger.askAgain(kind, letters.flatMap((letter) => studyOf(letter) ?? []), options);
  };
  return retryDeadLetters(broker, queue, selection, { ...options, before });
}

/**
 * Deletes the dead letters of studies that were published again since, are in work that was not abandoned, or are done: they would be counted as failures that were mended long
 * ago.
 *
 * @param ledger Knows what became of the studies.
 * @param broker Has the queue, which was declared.
 * @param queue Its name.
 * @param kind What it is for.
 * @param projectSlug The project whose dead letters are looked at.
 * @param options A signal.
 * @returns How many were deleted.
 */
export async function dropSuperseded(
  ledger: Ledger,
  broker: Broker,
  queue: string,
  kind: StudyKind,
  projectSlug: string,
  options: Abortable = {},
): Promise<number> {
  let count = 0;
  await broker.walk(queue, "dead", async (batch) => {
    const known = new Map(batch.flatMap((letter) => {
      const study = deadStudy(letter);
      return study?.project_name === projectSlug ? [[letter, study] as const] : [];
    }));
    const answers = known.size === 0 ? [] : await ledger.superseded(kind, [...known.values()], options);
    const superseded = new Set([...known.keys()].filter((_, i) => answers[i]));
    count += superseded.size;
    return batch.map((letter) => superseded.has(letter) ? "delete" : "keep");
  }, options);
  return count;
}

function studyOf({ body }: KeptMessage): StudyMessage | undefined {
  try {
    return decodeMessage(body);
  } catch (error) {
    if (error instanceof MalformedMessageError) return undefined;
    throw error;
  }
}

/** Which study, and when. What other programs put among the dead letters may not say when. */
function deadStudy(letter: KeptMessage): DeadStudy | undefined {
  const [study, at] = [studyOf(letter), Date.parse(letter.death?.at ?? "")];
  return study === undefined || Number.isNaN(at) ? undefined : { ...study, diedAt: new Date(at).toISOString() };
}
