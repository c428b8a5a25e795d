/** One phase of a task, as people see it. Disposing it before `done` shows that it stopped half-way. */
export interface Phase extends Disposable {
  /** So much more is done. */
  advance(n?: number): void;
  /** Sets how much there is in all, when that becomes known. */
  total(n: number): void;
  /** Says more of how it goes, while it goes on. */
  note(text: string): void;
  /** Ends the phase; the text is shown behind its name. @param isWell Whether all of it went well. @default {true} */
  done(result: string, isWell?: boolean): void;
}

/** Shows phases. */
export interface Progress {
  /** Begins a phase. @param total How many there will be, 0 if nobody knows. */
  phase(name: string, total: number, unit: string): Phase;
}
