import type { Ledger, RepublishScope, StudyKind } from "../database/mod.ts";
import type { Broker } from "../queue/mod.ts";
import { dropSuperseded } from "./dead_letters.ts";
import { ProjectUnknownError } from "./errors.ts";
import { publishStudies, type PublishStudiesOptions } from "./publish_studies.ts";

/** What {@linkcode retryProject} did. */
export interface RetryResult {
  /** Messages that each queue accepted. */
  readonly published: Readonly<Record<string, number>>;
  /** Dead letters of each queue that were deleted, since their studies are asked for again or were mended before. */
  readonly dropped: Readonly<Record<string, number>>;
}

/**
 * Puts a project's missing studies on the queues again, of all its extracts, and deletes their dead letters.
 *
 * @param ledger Knows what is missing.
 * @param broker Has the queues.
 * @param queues The queues to fill, and what each is for; one for images and one for reports at most.
 * @param projectSlug The project.
 * @param scope `failed`: what went to the dead letters. `unfinished`: that, and what waits or was left by a consumer that died, for when a queue was
 * lost with its messages; a message that is there nevertheless comes twice and has its effect once.
 * @param options Signal and progress.
 * @returns What was published, and which dead letters went.
 * @throws {ProjectUnknownError} If the ledger has no extract of that project.
 */
export async function retryProject(
  ledger: Ledger,
  broker: Broker,
  queues: ReadonlyMap<string, StudyKind>,
  projectSlug: string,
  scope: RepublishScope,
  options: PublishStudiesOptions = {},
): Promise<RetryResult> {
  const abort = options.signal === undefined ? {} : { signal: options.signal };
  const extracts = await ledger.extracts(projectSlug, abort);
  if (extracts.length === 0) throw new ProjectUnknownError(projectSlug);
  const published: Record<string, number> = {};
  const dropped: Record<string, number> = {};
  for (const [queue, kind] of queues) {
    await broker.declare(queue, abort);
    published[queue] = 0;
    // First all, since two extracts may ask for the same images.
    for (const { extractId } of extracts) await ledger.republish(kind, extractId, scope, abort);
    for (const { extractId } of extracts) {
      published[queue] += await publishStudies(ledger, broker, queue, kind, extractId, options);
    }
    dropped[queue] = await dropSuperseded(ledger, broker, queue, kind, projectSlug, abort);
  }
  return { published, dropped };
}
