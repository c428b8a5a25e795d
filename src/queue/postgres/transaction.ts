import { abortable } from "@std/async";
import type postgres from "postgres";
import { QueueError } from "../errors.ts";
import { CALL_MS, CLOSE_MS } from "./limits.ts";

/**
 * Runs work in a transaction that survives the loss of its connection: postgres.js 3.4 sends what still comes of the transaction then to a socket that
 * is gone, which ends the process, or over the next connection, where it is committed at once. Here it is refused.
 *
 * @param work Its statements.
 * @param limitMs Time allowed to it; then it is rolled back. In the embedded database, work that waits for anything but the transaction waits for itself.
 * @throws {QueueError} `broker-unreachable` if it took longer.
 */
export async function transact(
  sql: postgres.Sql,
  work: (transaction: postgres.TransactionSql) => Promise<void>,
  limitMs = CALL_MS,
): Promise<void> {
  let over = false;
  let late = false;
  const check = () => {
    if (late) throw tooLong(limitMs);
    if (over) throw new QueueError("broker-unreachable", "Cannot go on with the transaction: its connection was lost");
  };
  const timely = async <T>(promise: Promise<T>, ms: number): Promise<T> => {
    const timeout = new AbortController();
    const timer = setTimeout(() => {
      late = true;
      timeout.abort(tooLong(limitMs));
    }, ms);
    try {
      return await abortable(promise, timeout.signal);
    } finally {
      clearTimeout(timer);
    }
  };
  const transaction = async () => {
    try {
      await sql.begin(async (transaction) => {
        const guarded = new Proxy(transaction, {
          apply(target, self, args) {
            check();
            return Reflect.apply(target, self, args) as unknown;
          },
          get(target, key) {
            check();
            return Reflect.get(target, key) as unknown;
          },
        });
        try {
          await timely(work(guarded), limitMs);
        } finally {
          // Neither "commit" nor "rollback" is to follow.
          if (over) await new Promise(() => {});
        }
      });
    } finally {
      over = true;
    }
  };
  // Longer, so that the work's own limit, which rolls back, comes first.
  await timely(transaction(), limitMs + CLOSE_MS);
}

function tooLong(ms: number): QueueError {
  return new QueueError(
    "broker-unreachable",
    `Cannot finish the transaction within ${ms} ms: it was rolled back; use it for every statement of the effect, and wait for nothing else`,
  );
}
