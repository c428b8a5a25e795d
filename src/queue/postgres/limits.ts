/** Time allowed to a call, in milliseconds. What it has begun, the server may still finish. */
export const CALL_MS = 60_000;

/** Time allowed to handing back what is in hand, in milliseconds. */
export const CLOSE_MS = 5_000;
