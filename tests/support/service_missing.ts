/** A server that the tests need is not installed here. */
export class ServiceMissing extends Error {
  override readonly name = "ServiceMissing";
  /** @param program What was looked for. @param install What to do. */
  constructor(readonly program: string, readonly install: string) {
    super(`Cannot find ${program}: ${install}`);
  }
}
