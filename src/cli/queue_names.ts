import type { StudyKind } from "../database/mod.ts";
import { ConfigError } from "./errors.ts";

/** What is asked for the studies of a queue, by its name. */
export type QueueKinds = ReadonlyMap<string, StudyKind>;

/** Names whose meaning is known; those of the Python PIXL among them. */
const KNOWN: Readonly<Record<string, StudyKind>> = { "pacs": "image", "imaging-primary": "image", "ehr": "report" };

/** What a queue of that name is for, where its name alone says it. */
export function kindOf(queue: string): StudyKind | undefined {
  return Object.hasOwn(KNOWN, queue) ? KNOWN[queue] : undefined;
}

/**
 * Reads names of queues. A name that is not known must say what it is for, so that a slip of the pen does not send studies to a queue that nobody works on.
 *
 * @param words Each `NAME` (pacs, imaging-primary, ehr) or `NAME=image` or `NAME=report`; letters, digits, `.`, `_` and `-`.
 * @throws {ConfigError} If there is none, or one cannot be used.
 */
export function queueKinds(words: readonly string[]): QueueKinds {
  const kinds = new Map<string, StudyKind>();
  for (const word of words.map((word) => word.trim()).filter((word) => word !== "")) {
    const [, name = "", given] = /^([A-Za-z0-9][A-Za-z0-9._-]{0,99})(?:=(image|report))?$/.exec(word) ?? [];
    if (name === "" || /^amq\./i.test(name)) {
      throw new ConfigError([
        `'${word}' is no name of a queue: use letters, digits, '.', '_' and '-', not 'amq.' first`,
      ]);
    }
    const kind = given === "image" || given === "report" ? given : kindOf(name);
    if (kind === undefined) {
      throw new ConfigError([
        `The queue '${name}' is not known: use ${
          Object.keys(KNOWN).join(", ")
        }, or say ${name}=image or ${name}=report`,
      ]);
    }
    kinds.set(name, kind);
  }
  if (kinds.size === 0) throw new ConfigError(["No queue is named: use for example 'pacs'"]);
  return kinds;
}

/**
 * Reads the name of one queue.
 *
 * @param word As in {@linkcode queueKinds}.
 * @throws {ConfigError} If it cannot be used.
 */
export function oneQueue(word: string): { readonly queue: string; readonly kind: StudyKind } {
  for (const [queue, kind] of queueKinds([word])) return { queue, kind };
  throw new Error("queueKinds() gives at least one");
}

/**
 * Reads the queues to fill: at most one for images and one for reports, since a study is published once for each.
 *
 * @param words As in {@linkcode queueKinds}.
 * @throws {ConfigError} If two are for the same.
 */
export function queuesToFill(words: readonly string[]): QueueKinds {
  const kinds = queueKinds(words);
  if (new Set(kinds.values()).size < kinds.size) {
    throw new ConfigError([
      `The queues ${[...kinds.keys()].join(", ")} are for the same: name one for images and one for reports`,
    ]);
  }
  return kinds;
}
