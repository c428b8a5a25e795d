import type { Transfer } from "../database/mod.ts";
import type { CallOptions } from "../upload/mod.ts";

/** A local file, and where it goes. */
export interface FileToSend {
  /** Files of projects are sent in turn, so that a large one does not hold up the others. */
  readonly projectSlug: string;
  /** The local file. */
  readonly source: string;
  /** Its size in bytes. */
  readonly bytes: number;
  /** Its path at the destination. */
  readonly path: string;
  /** Its SHA-256 in hex, where that is known already. */
  readonly sha256?: string;
  /** SHA-256 in hex that it must have, else it is not sent. */
  readonly expectedSha256?: string;
  /** Another file with this name is replaced. */
  readonly replace?: boolean;
  /** Whoever plans it brings it again if it was not sent: it is tried once. @default {false} */
  readonly comesAgain?: boolean;
  /** Whether it may go already, which files of its project that are sent may change. One that never may is left. @default Yes. */
  isReady?(): boolean;
  /** Called right before it is sent. @throws {UploadError} If it is not any more what was to be sent. */
  check?(call: CallOptions): Promise<void>;
  /** Tells the ledger that it is there. */
  record(transfer: Transfer): Promise<void>;
}

/** A file that cannot be sent. */
export interface Unsendable {
  /** Its path at the destination, or the local file where that is not known. */
  readonly path: string;
  /** Without identifiers. */
  readonly reason: string;
  /** Whether it was not even tried, since others like it had failed. @default {false} */
  readonly untried?: boolean;
}

/** What is to be sent, and what cannot be. */
export interface UploadPlan {
  readonly files: readonly FileToSend[];
  readonly failed: readonly Unsendable[];
  /** What need not be sent, since it was already. */
  readonly left?: readonly Unsendable[];
  /**
   * What is to be sent besides, as it comes, until all that has come is done; what comes then is left. Such a run may be endless, and keeps no list of what
   * has failed. @param signal Ends it, be it by an error.
   */
  readonly arrivals?: (signal: AbortSignal) => AsyncIterable<readonly FileToSend[]>;
}

/** A file that is in hand until `finished` is called. */
export interface Turn {
  readonly file: FileToSend;
  finished(): void;
}

interface ProjectTurns {
  /** Those that wait, the first at the end. */
  files: FileToSend[];
  inHand: number;
  /** Its last turn, counted over all projects. */
  last: number;
}

/**
 * Hands out files of several projects, each project in its own order: next is the project that has the fewest files in hand, of those the one that has been
 * longest without a turn. So large files of one project leave room for another's, and those of one take all the room if there is no other.
 */
export class Turns {
  readonly #projects = new Map<string, ProjectTurns>();
  readonly #isReady: (file: FileToSend) => boolean;
  readonly #again = new WeakSet<FileToSend>();
  #turns = 0;

  /** @param files In any order; those of a project keep theirs, but that what is not ready is passed over. @param isReady Whether one may go. */
  constructor(files: readonly FileToSend[], isReady = (file: FileToSend) => file.isReady?.() !== false) {
    this.#isReady = isReady;
    this.add(files);
  }

  /** More files; those of a project come after those that it has. */
  add(files: readonly FileToSend[]): void {
    for (const [slug, own] of Map.groupBy(files, ({ projectSlug }) => projectSlug)) {
      const project = this.#projects.get(slug) ?? { files: [], inHand: 0, last: 0 };
      project.files = own.reverse().concat(project.files);
      this.#projects.set(slug, project);
    }
  }

  /** A file that was taken comes again, after those of its project that wait. */
  putBack(file: FileToSend): void {
    this.#projects.get(file.projectSlug)?.files.unshift(file);
    this.#again.add(file);
  }

  /** The next file; `undefined` if none is left that is ready. */
  next(): Turn | undefined {
    let next: { readonly project: ProjectTurns; readonly at: number } | undefined;
    for (const project of this.#projects.values()) {
      const at = project.files.findLastIndex(this.#isReady);
      if (at === -1) continue;
      const order = next && (project.inHand - next.project.inHand || project.last - next.project.last);
      if (order === undefined || order < 0) next = { project, at };
    }
    return next && this.#take(next.project, next.at);
  }

  /** As `next`, but that project's last file that was not put back. */
  last(projectSlug: string): Turn | undefined {
    const project = this.#projects.get(projectSlug);
    return project &&
      this.#take(project, project.files.findIndex((file) => this.#isReady(file) && !this.#again.has(file)));
  }

  #take(project: ProjectTurns, at: number): Turn | undefined {
    const [file] = at === -1 ? [] : project.files.splice(at, 1);
    if (file === undefined) return undefined;
    project.inHand += 1;
    project.last = ++this.#turns;
    return { file, finished: () => void (project.inHand -= 1) };
  }
}

/** The same files in the order in which one after another would be sent, if each were. */
export function inTurn(files: readonly FileToSend[]): FileToSend[] {
  const turns = new Turns(files, () => true);
  const ordered: FileToSend[] = [];
  for (let turn = turns.next(); turn !== undefined; turn = turns.next()) {
    turn.finished();
    ordered.push(turn.file);
  }
  return ordered;
}
