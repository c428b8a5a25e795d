import type { FileToSend } from "./file_to_send.ts";

/** More files in a row that fail alike, with none between them that is sent, are not these files' fault. */
const MOST_IN_A_ROW = 5;

/** What stands between the files of one project and their destination, such as a gateway that cuts what they hold, or a quota; others may have it easier. */
export class Setbacks {
  readonly #most: number;
  readonly #cut = new Map<string, number>();
  readonly #givenUp = new Set<string>();
  readonly #withoutSpace = new Map<string, { count: number; least: number }>();

  /** @param connections One outage hits a file on each. */
  constructor(connections: number) {
    this.#most = MOST_IN_A_ROW + connections - 1;
  }

  /** A file was sent. */
  sent({ projectSlug, bytes }: FileToSend): void {
    this.#cut.delete(projectSlug);
    this.#givenUp.delete(projectSlug);
    if (bytes >= this.#leastWithoutSpace(projectSlug)) this.#withoutSpace.delete(projectSlug);
  }

  /** A file lost the connection, though the destination is there. */
  cut({ projectSlug }: FileToSend): void {
    this.#cut.set(projectSlug, (this.#cut.get(projectSlug) ?? 0) + 1);
  }

  /** Whether so many of the project were cut in a row that it may not be their fault. */
  areInARow(projectSlug: string): boolean {
    return (this.#cut.get(projectSlug) ?? 0) > this.#most;
  }

  /** The project's files are not tried any more, until one that was in hand is sent. */
  giveUp(projectSlug: string): void {
    this.#givenUp.add(projectSlug);
  }

  /** Whether {@linkcode giveUp} was said of it. */
  isGivenUp(projectSlug: string): boolean {
    return this.#givenUp.has(projectSlug);
  }

  /** There was no space for a file. */
  foundNoSpace({ projectSlug, bytes }: FileToSend): void {
    const { count = 0, least = Infinity } = this.#withoutSpace.get(projectSlug) ?? {};
    this.#withoutSpace.set(projectSlug, { count: count + 1, least: Math.min(least, bytes) });
  }

  /** Whether a file need not be tried, since there was no space for several of its project that are no larger. */
  isTooLarge({ projectSlug, bytes }: FileToSend): boolean {
    const { count = 0 } = this.#withoutSpace.get(projectSlug) ?? {};
    return count > this.#most && bytes >= this.#leastWithoutSpace(projectSlug);
  }

  /** Files of a project come: a few are tried, and if they fail as those before did, no more. */
  newFiles(projectSlug: string): void {
    this.#givenUp.delete(projectSlug);
    const { count = 0, least = Infinity } = this.#withoutSpace.get(projectSlug) ?? {};
    this.#withoutSpace.set(projectSlug, { count: Math.min(count, this.#most), least });
  }

  #leastWithoutSpace(projectSlug: string): number {
    return this.#withoutSpace.get(projectSlug)?.least ?? Infinity;
  }
}
