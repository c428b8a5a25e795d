import type { Database } from "./database.ts";
import { run } from "./failure.ts";
import * as claims from "./ledger/claims.ts";
import * as dead from "./ledger/dead_letters.ts";
import * as exported from "./ledger/exports.ts";
import * as extracts from "./ledger/extracts.ts";
import { history } from "./ledger/history.ts";
import * as overview from "./ledger/overview.ts";
import * as publishing from "./ledger/publishing.ts";
import * as uploads from "./ledger/uploads.ts";
import type {
  Claim,
  DeadStudy,
  Extract,
  FailureCount,
  ImageToUpload,
  KnownImage,
  Lease,
  LedgerCall,
  PartNote,
  RecordedTransfer,
  Registration,
  ReportRow,
  RepublishScope,
  SentCount,
  StateCount,
  Study,
  StudyHistory,
  StudyKey,
  StudyKind,
  Transfer,
  UnfinishedStudy,
  UnpublishedStudy,
} from "./ledger/types.ts";
import type { Queryable } from "./sql.ts";

/** Rows a statement adds or a page holds. */
const BATCH = 1_000;

/**
 * The record of what was asked for and what became of it. Any number of processes may use it at once; every rule (one row a study, one worker a study,
 * which state follows which) is kept by the database itself.
 *
 * Every method rejects with a {@linkcode DatabaseError} if the database does; those that finish a study, with a {@linkcode LeaseLostError} if the
 * study is no longer theirs.
 */
export class Ledger {
  readonly #database: Database;

  /** Works on that database. @param database Open and migrated. The caller closes it. */
  constructor(database: Database) {
    this.#database = database;
  }

  /** Makes an extract known. Again is harmless. @param extract Names and slugs, and the time in ISO 8601, normalised. */
  async registerExtract(extract: extracts.NewExtract, call: LedgerCall = {}): Promise<{ readonly extractId: number }> {
    const extractId = await this.#run("register the extract", call, (sql) => extracts.registerExtract(sql, extract));
    return { extractId };
  }

  /** The extract of that time, or the newest of the project. */
  findExtract(projectSlug: string, timeSlug?: string, call: LedgerCall = {}): Promise<Extract | undefined> {
    return this.#run("find the extract", call, (sql) => extracts.findExtract(sql, projectSlug, timeSlug));
  }

  /**
   * Makes an extract's studies known, 1,000 a statement: one row for the images of each study of the project, one for its report in this extract.
   * What is known stays as it is, so this may be repeated after a crash.
   *
   * @param options `leftOut`: asked at the end for the counts of what was no study, by reason.
   */
  async registerStudies(
    extractId: number,
    studies: Iterable<Study> | AsyncIterable<Study>,
    { leftOut, ...call }: LedgerCall & { readonly leftOut?: () => Readonly<Record<string, number>> } = {},
  ): Promise<Registration> {
    const total = { added: 0, known: 0, exported: 0 };
    const flush = async (batch: readonly Study[]) => {
      const { added, known, exported } = await this.#run(
        "register the studies",
        call,
        (sql) => extracts.registerBatch(sql, extractId, batch),
      );
      total.added += added;
      total.known += known;
      total.exported += exported;
    };
    let batch: Study[] = [];
    for await (const study of studies) {
      if (batch.push(study) < BATCH) continue;
      await flush(batch);
      batch = [];
    }
    if (batch.length > 0) await flush(batch);
    await this.#run(
      "register the studies",
      call,
      (sql) => extracts.finishRegistration(sql, extractId, leftOut?.() ?? {}),
    );
    if (total.added >= BATCH) await this.#analyse(call);
    return total;
  }

  /** An extract's studies whose message no broker has confirmed yet. Those that become so meanwhile may or may not be among them. */
  async *unpublished(
    extractId: number,
    kind: StudyKind,
    call: LedgerCall = {},
  ): AsyncGenerator<UnpublishedStudy, void> {
    for (let after: number | undefined = 0; after !== undefined;) {
      const from: number = after;
      const page = await this.#run(
        "list the studies",
        call,
        (sql) => publishing.unpublishedPage(sql, extractId, kind, from, BATCH),
      );
      yield* page.studies;
      after = page.last;
    }
  }

  /** Notes that a broker has confirmed the messages of these studies. @param ids As {@linkcode Ledger.unpublished} gave them. */
  markPublished(kind: StudyKind, ids: readonly number[], call: LedgerCall = {}): Promise<void> {
    return this.#run("note what was published", call, (sql) => publishing.markPublished(sql, kind, ids));
  }

  /**
   * Takes a study to work on, for as long as the lease is renewed. Exactly one of those who ask at once gets it. A failed study may be claimed again.
   * If the call is aborted the study may be claimed nevertheless, until the lease runs out.
   */
  claim(kind: StudyKind, study: StudyKey, lease: Lease, call: LedgerCall = {}): Promise<Claim> {
    return this.#run(`claim the ${kind}`, call, (sql) => claims.claim(sql, kind, study, lease));
  }

  /** Extends a lease from now. @throws {LeaseLostError} If it was taken over. */
  renew(kind: StudyKind, id: number, lease: Lease, call: LedgerCall = {}): Promise<void> {
    return this.#run("renew the lease", call, (sql) => claims.renew(sql, kind, id, lease));
  }

  /**
   * Notes the pseudonym of images in work, so that whatever bears it can be found from now on.
   *
   * @throws {LeaseLostError} If the lease was taken over.
   * @throws {DatabaseError} `value-refused` if another study of the project has it.
   */
  recordPseudonym(imageId: number, owner: string, pseudo_study_uid: string, call: LedgerCall = {}): Promise<void> {
    return this.#run(
      "note the pseudonym",
      call,
      (sql) => claims.recordPseudonym(sql, imageId, owner, pseudo_study_uid),
    );
  }

  /** Keeps the de-identified text of a report in work. @throws {LeaseLostError} If the lease was taken over. */
  recordReport(reportId: number, owner: string, image_report: string, call: LedgerCall = {}): Promise<void> {
    return this.#run("keep the report", call, (sql) => claims.recordReport(sql, reportId, owner, image_report));
  }

  /**
   * The study is finished: its images are de-identified, or its report is.
   *
   * @throws {LeaseLostError} If the lease was taken over.
   * @throws {DatabaseError} `transition-refused` if {@linkcode Ledger.recordPseudonym} or {@linkcode Ledger.recordReport} did not come before.
   */
  complete(kind: StudyKind, id: number, owner: string, call: LedgerCall = {}): Promise<void> {
    return this.#run(`finish the ${kind}`, call, (sql) => claims.complete(sql, kind, id, owner));
  }

  /** Gives a study back unfinished. @param reason Without identifiers. @throws {LeaseLostError} If the lease was taken over. */
  putBack(kind: StudyKind, id: number, owner: string, reason: string, call: LedgerCall = {}): Promise<void> {
    return this.#run(`put the ${kind} back`, call, (sql) => claims.putBack(sql, kind, id, owner, reason));
  }

  /**
   * Gives a study up, whoever has it: its message is a dead letter.
   *
   * @param reason Without identifiers.
   * @returns Whether it was waiting or in work; what is done stays done.
   */
  fail(kind: StudyKind, study: StudyKey, reason: string, call: LedgerCall = {}): Promise<boolean> {
    return this.#run(`note the failed ${kind}`, call, (sql) => claims.fail(sql, kind, study, reason));
  }

  /** Makes an extract's studies wait as unpublished: those that failed, or all whose message may be lost too. @returns How many. */
  republish(kind: StudyKind, extractId: number, scope: RepublishScope, call: LedgerCall = {}): Promise<number> {
    return this.#run(`publish the ${kind}s again`, call, (sql) => publishing.republish(sql, kind, extractId, scope));
  }

  /** Studies that failed wait again: their dead letters are about to be put on the queue. @returns How many had failed. */
  askAgain(kind: StudyKind, studies: readonly StudyKey[], call: LedgerCall = {}): Promise<number> {
    return this.#run(`ask for the ${kind}s again`, call, (sql) => dead.askAgain(sql, kind, studies));
  }

  /** Whether each of these dead letters is of no use any more: its study was published again since, is in work that was not abandoned, or is done. */
  superseded(kind: StudyKind, letters: readonly DeadStudy[], call: LedgerCall = {}): Promise<readonly boolean[]> {
    return this.#run("compare the dead letters", call, (sql) => dead.superseded(sql, kind, letters));
  }

  /** Images that are done and not yet exported, oldest row first. */
  async *imagesToUpload({ projectSlug, ...call }: LedgerCall & { readonly projectSlug?: string } = {}): AsyncGenerator<
    ImageToUpload,
    void
  > {
    for (let after: number | undefined = 0; after !== undefined;) {
      const from: number = after;
      const page: ImageToUpload[] = await this.#run(
        "list the images",
        call,
        (sql) => exported.imagesToUploadPage(sql, projectSlug, from, BATCH),
      );
      yield* page;
      after = page.at(-1)?.imageId;
    }
  }

  /** An extract's finished reports, by procedure. */
  async *reports(extractId: number, call: LedgerCall = {}): AsyncGenerator<ReportRow, void> {
    let last: exported.PlacedReport | undefined;
    do {
      const from = last;
      const page = await this.#run(
        "list the reports",
        call,
        (sql) => exported.reportsPage(sql, extractId, from, BATCH),
      );
      for (const { report_id: _, ...row } of page) yield row;
      last = page.at(-1);
    } while (last !== undefined);
  }

  /** Records a file that a destination confirmed. Again is harmless. */
  recordTransfer(transfer: Transfer, call: LedgerCall = {}): Promise<void> {
    return this.#run("record the transfer", call, (sql) => exported.recordTransfer(sql, transfer));
  }

  /** Whether anything was ever sent to that destination. */
  hasTransfersTo(destination: string, call: LedgerCall = {}): Promise<boolean> {
    return this.#run("look for transfers", call, (sql) => exported.hasTransfersTo(sql, destination));
  }

  /** The last file that was sent to that path. */
  findTransfer(destination: string, path: string, call: LedgerCall = {}): Promise<RecordedTransfer | undefined> {
    return this.#run("find the transfer", call, (sql) => exported.findTransfer(sql, destination, path));
  }

  /**
   * Takes the right to send a file to that path, for a while: two that send to it would not see what the other is about to rename.
   *
   * @param destination Its name.
   * @param path Path there.
   * @param name Of the unfinished file, should there be none of an earlier attempt.
   * @param lease Who, and for how long without a {@linkcode renewUpload}.
   * @returns How far an earlier attempt came, or that `name` and nothing yet; `undefined` while another holds it.
   */
  claimUpload(
    destination: string,
    path: string,
    name: string,
    lease: Lease,
    call: LedgerCall = {},
  ): Promise<PartNote | undefined> {
    return this.#run("claim the upload", call, (sql) => uploads.claimUpload(sql, destination, path, name, lease));
  }

  /** Keeps the right for longer. @throws {LeaseLostError} If another has it by now. */
  renewUpload(destination: string, path: string, lease: Lease, call: LedgerCall = {}): Promise<void> {
    return this.#run("renew the upload", call, (sql) => uploads.renewUpload(sql, destination, path, lease));
  }

  /** Keeps how far a transfer has come, if that owner still has the right to it. */
  notePart(destination: string, path: string, part: PartNote, owner: string, call: LedgerCall = {}): Promise<void> {
    return this.#run(
      "note the unfinished transfer",
      call,
      (sql) => uploads.notePart(sql, destination, path, part, owner),
    );
  }

  /** Lets another go on with the transfer. Again is harmless. */
  releaseUpload(destination: string, path: string, owner: string, call: LedgerCall = {}): Promise<void> {
    return this.#run("release the upload", call, (sql) => uploads.releaseUpload(sql, destination, path, owner));
  }

  /** There is nothing to go on with. Again is harmless. */
  forgetPart(destination: string, path: string, owner: string, call: LedgerCall = {}): Promise<void> {
    return this.#run(
      "forget the unfinished transfer",
      call,
      (sql) => uploads.forgetPart(sql, destination, path, owner),
    );
  }

  /** The images that have one of these pseudonyms, of any project. */
  imagesOf(pseudonyms: readonly string[], call: LedgerCall = {}): Promise<readonly KnownImage[]> {
    return this.#run("look the images up", call, (sql) => uploads.imagesOf(sql, pseudonyms));
  }

  /** A project's images that have a pseudonym, in whatever state. */
  async *pseudonymised(projectSlug: string, call: LedgerCall = {}): AsyncGenerator<KnownImage, void> {
    for (let after: number | undefined = 0; after !== undefined;) {
      const from: number = after;
      const page: readonly KnownImage[] = await this.#run(
        "list the images",
        call,
        (sql) => uploads.pseudonymisedPage(sql, projectSlug, from, BATCH),
      );
      yield* page;
      after = page.at(-1)?.imageId;
    }
  }

  /** What was last sent to each path of a project there. */
  transfersTo(
    destination: string,
    projectSlug: string,
    call: LedgerCall = {},
  ): Promise<readonly Pick<RecordedTransfer, "path" | "bytes" | "sha256">[]> {
    return this.#run("list the transfers", call, (sql) => uploads.transfersTo(sql, destination, projectSlug));
  }

  /**
   * An exported image turned out not to be at its destination.
   *
   * @param to `done`: its file is to be sent again; `queued`: the study is to be asked for again, unpublished.
   * @returns Whether it was exported.
   */
  unexport(imageId: number, to: "done" | "queued", call: LedgerCall = {}): Promise<boolean> {
    return this.#run("set the image back", call, (sql) => uploads.unexport(sql, imageId, to));
  }

  /**
   * The images have left. Again is harmless.
   *
   * @param options `at`: when, ISO 8601; now if it is not given.
   * @throws {DatabaseError} `transition-refused` if no transfer of them is recorded or they are not done.
   */
  markExported(imageId: number, { at, ...call }: LedgerCall & { readonly at?: string } = {}): Promise<void> {
    return this.#run("mark the image exported", call, (sql) => exported.markExported(sql, imageId, at));
  }

  /** {@linkcode Ledger.recordTransfer} and {@linkcode Ledger.markExported} in one transaction. */
  recordImageExported(transfer: Transfer & { readonly imageId: number }, call: LedgerCall = {}): Promise<void> {
    return this.#run("mark the image exported", call, (sql) => exported.recordImageExported(sql, transfer));
  }

  /**
   * What became of a study.
   *
   * @param study Its accession number or its pseudonym.
   * @returns One for each project that has it, and for each patient and day that the number stands for; none if it is not known.
   */
  history(study: string, call: LedgerCall = {}): Promise<readonly StudyHistory[]> {
    return this.#run("look the study up", call, (sql) => history(sql, study));
  }

  /** Why studies of a project failed, the most frequent reason first. */
  failures(projectSlug: string, call: LedgerCall = {}): Promise<readonly FailureCount[]> {
    return this.#run("count the failures", call, (sql) => overview.failures(sql, projectSlug));
  }

  /** What of a project left, by destination and day. */
  sent(projectSlug: string, call: LedgerCall = {}): Promise<readonly SentCount[]> {
    return this.#run("count what left", call, (sql) => overview.sent(sql, projectSlug));
  }

  /** What of a project is not finished: images that have not left, then reports that are not there. */
  async *unfinished(projectSlug: string, call: LedgerCall = {}): AsyncGenerator<UnfinishedStudy, void> {
    for (const kind of ["image", "report"] as const) {
      for (let after: number | undefined = 0; after !== undefined;) {
        const from: number = after;
        const page = await this.#run(
          "list what is not finished",
          call,
          (sql) => overview.unfinishedPage(sql, projectSlug, kind, from, BATCH),
        );
        for (const { id: _, ...study } of page) yield study;
        after = page.at(-1)?.id;
      }
    }
  }

  /** A project's extracts, oldest first. */
  extracts(projectSlug: string, call: LedgerCall = {}): Promise<readonly Extract[]> {
    return this.#run("list the extracts", call, (sql) => extracts.listExtracts(sql, projectSlug));
  }

  /** How many studies are in a consumer's hands now, of all projects. */
  inHand(call: LedgerCall = {}): Promise<Readonly<Record<StudyKind, number>>> {
    return this.#run("count the studies in hand", call, (sql) => overview.inHand(sql));
  }

  /** Names of the queues that this database knows: they were consumed, their rate was set, or they are its own tables. */
  queues(call: LedgerCall = {}): Promise<readonly string[]> {
    return this.#run("list the queues", call, (sql) => overview.queues(sql));
  }

  /** How many studies are in each state, of one project or all. */
  summary(projectSlug?: string, call: LedgerCall = {}): Promise<readonly StateCount[]> {
    return this.#run("count the studies", call, (sql) => overview.summary(sql, projectSlug));
  }

  #run<T>(
    action: string,
    { transaction = this.#database.sql, signal }: LedgerCall,
    work: (sql: Queryable) => Promise<T>,
  ): Promise<T> {
    return run(action, () => work(transaction), signal);
  }

  /** The embedded database has nobody who does it, and plans for an empty table are slow on a full one. */
  async #analyse(call: LedgerCall): Promise<void> {
    if (!this.#database.embedded) return;
    await this.#run("analyse the tables", call, (sql) => sql`analyze pixl_pipeline.image, pixl_pipeline.report`);
  }
}
