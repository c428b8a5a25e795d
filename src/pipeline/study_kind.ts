import type { StudyKind } from "../database/mod.ts";

/**
 * What a queue's studies are asked for: `ehr` for reports, any other for images.
 *
 * @param queue The queue's name.
 */
export function studyKindOf(queue: string): StudyKind {
  return queue === "ehr" ? "report" : "image";
}
