import type { Destination } from "../upload/mod.ts";
import { type FileToSend, inTurn } from "./file_to_send.ts";

/** What would become of a file. */
export interface ExplainedFile {
  /** Local file. */
  readonly source: string;
  /** Path at the destination. */
  readonly path: string;
  readonly bytes: number;
  /** Whether all or some of it would be sent; not where only a comparison can tell, or where it would be refused. */
  readonly send: boolean;
  /** Why. */
  readonly why: string;
}

/**
 * Says what an upload would do, and does nothing.
 *
 * @param destination Looked at only.
 * @param files In the order of the result: the projects in turn.
 * @param options Stops it.
 * @throws {UploadError} If the destination is out of reach or refuses us.
 */
export async function explainPlan(
  destination: Destination,
  files: readonly FileToSend[],
  options: { readonly signal?: AbortSignal } = {},
): Promise<ExplainedFile[]> {
  const explained: ExplainedFile[] = [];
  for (const { source, path, bytes, replace } of inTurn(files)) {
    const there = (await destination.stat(path, options))?.bytes;
    explained.push({ source, path, bytes, ...reasonOf(there, bytes, replace === true) });
  }
  return explained;
}

function reasonOf(there: number | undefined, bytes: number, replace: boolean): { send: boolean; why: string } {
  if (there === undefined) return { send: true, why: "not there" };
  if (there === bytes) {
    const otherwise = replace ? "sent only" : "refused";
    return { send: false, why: `there with this size: it would be compared, and ${otherwise} if it differs` };
  }
  return replace
    ? { send: true, why: `another file is there (${there} bytes): it would be replaced` }
    : { send: false, why: `another file is there (${there} bytes): it would be refused` };
}
