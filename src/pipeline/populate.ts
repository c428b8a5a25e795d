import type { Ledger, StudyKind } from "../database/mod.ts";
import type { StudySource } from "../exports/mod.ts";
import type { Broker } from "../queue/mod.ts";
import { dropSuperseded } from "./dead_letters.ts";
import { publishStudies, type PublishStudiesOptions } from "./publish_studies.ts";

/** How {@linkcode populate} reports. */
export interface PopulateOptions extends PublishStudiesOptions {
  /**
   * Also publishes studies that failed, and those whose message a queue accepted before and nobody has finished: after a queue was lost or what made
   * studies fail was mended. A study that is asked for twice has its effect once. Dead letters of the project that are mended so are deleted.
   * @default {false}
   */
  readonly again?: boolean;
}

/** What {@linkcode populate} did. */
export interface PopulateResult {
  /** Studies of the extract that can be asked for. */
  readonly studies: number;
  /** Of these, new to their project. */
  readonly added: number;
  /** Of these, already at the Data Safe Haven. */
  readonly exported: number;
  /** Messages that each queue accepted. */
  readonly published: Readonly<Record<string, number>>;
}

/**
 * Registers an extract's studies in the ledger and publishes those that no queue has accepted yet. Running it again publishes nothing twice.
 *
 * @param extract The studies that are wanted.
 * @param ledger Remembers them.
 * @param broker Has the queues.
 * @param queues The queues to fill, and what each is for; one for images and one for reports at most.
 * @param options Signal and progress.
 * @returns Counts.
 */
export async function populate(
  extract: StudySource,
  ledger: Ledger,
  broker: Broker,
  queues: ReadonlyMap<string, StudyKind>,
  options: PopulateOptions = {},
): Promise<PopulateResult> {
  const { signal } = options;
  const abort = signal === undefined ? {} : { signal };
  for (const queue of queues.keys()) await broker.declare(queue, abort);
  const { extractId } = await ledger.registerExtract({
    project_name: extract.projectName,
    project_slug: extract.projectSlug,
    extract_time: extract.extractTime,
    time_slug: extract.timeSlug,
    layout: extract.layout,
  }, abort);
  const registered = await ledger.registerStudies(extractId, extract.studies(abort), {
    ...abort,
    leftOut: () => ({ ...extract.dropped }),
  });
  const published: Record<string, number> = {};
  for (const [queue, kind] of queues) {
    if (options.again) await ledger.republish(kind, extractId, "unfinished", abort);
    published[queue] = await publishStudies(ledger, broker, queue, kind, extractId, options);
    if (options.again) await dropSuperseded(ledger, broker, queue, kind, extract.projectSlug, abort);
  }
  return {
    studies: registered.added + registered.known + registered.exported,
    added: registered.added,
    exported: registered.exported,
    published,
  };
}
