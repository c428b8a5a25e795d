import { PixlError } from "../errors.ts";

/** An extract is to be exported, or its export sent, that the ledger does not have as a whole. */
export class NotPopulatedError extends PixlError {
  /** Always the same. */
  override readonly code = "not-populated";
  /** Another extract is needed, or another step first. */
  override readonly kind = "input";

  /** Names the extract. @param dir Its folder. */
  constructor(dir: string) {
    super(
      `Cannot go on with '${dir}': the ledger does not have this extract, or not all of it: run 'pixl populate' on it first`,
    );
  }
}

/** The ledger has no extract of a project. */
export class ProjectUnknownError extends PixlError {
  /** Always the same. */
  override readonly code = "project-unknown";
  /** Another name is needed. */
  override readonly kind = "input";

  /** Names the project. @param projectSlug As it was given. */
  constructor(projectSlug: string) {
    super(`Cannot find the project '${projectSlug}' in the ledger: 'pixl status' lists those there are`);
  }
}
