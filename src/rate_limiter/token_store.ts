/** What a {@linkcode SharedTokenBucket} asks of its store. */
export interface BookingRequest {
  /** Most tokens. 0 asks for the news alone. */
  readonly wanted: number;
  /** If any, so many at least, in a row. */
  readonly least: number;
  /** How far ahead, in milliseconds: later ones are left to others. */
  readonly horizonMs: number;
}

/** Tokens for one consumer. Times are milliseconds from when the store answered; negative for what was earned before. */
export interface Booking {
  /** Tokens a second. */
  readonly rate: number;
  /** Most tokens kept. */
  readonly capacity: number;
  /** Another than before: the rate or the capacity was set, and what was booked earlier and is not due yet is void. */
  readonly version: number;
  /** How many, one every 1,000/rate ms. */
  readonly count: number;
  /** When the first is due. */
  readonly firstDueMs: number;
  /** When the next that nobody has booked is due; `Infinity` at rate 0. */
  readonly nextDueMs: number;
}

/** What is changed; what is left out stays. */
export interface RateChange {
  /** Tokens a second, at least 0. */
  readonly rate?: number;
  /** Most tokens kept, a whole number of at least 1. */
  readonly capacity?: number;
}

/** Where processes share their tokens. `SharedRate` of `@pixl/core/database` is one. */
export interface TokenStore {
  /** Books tokens for whoever asks; nobody else gets them. @param request How many. @param options Ends the wait. */
  book(request: BookingRequest, options?: { readonly signal?: AbortSignal }): Promise<Booking>;
  /** Changes the rate or the capacity for all. What was booked and is due within a second stays so. @param change What. */
  set(change: RateChange): Promise<unknown>;
}
