import type postgres from "postgres";
import { QueueError } from "../errors.ts";

/**
 * Runs work in a transaction that survives the loss of its connection: postgres.js 3.4 sends what still comes of the transaction then to a socket that
 * is gone, which ends the process, or over the next connection, where it is committed at once. Here it is refused.
 *
 * @param work Its statements.
 */
export async function transact(
  sql: postgres.Sql,
  work: (transaction: postgres.TransactionSql) => Promise<void>,
): Promise<void> {
  let over = false;
  const check = () => {
    if (over) throw new QueueError("broker-unreachable", "Cannot go on with the transaction: its connection was lost");
  };
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
        await work(guarded);
      } finally {
        // Neither "commit" nor "rollback" is to follow.
        if (over) await new Promise(() => {});
      }
    });
  } finally {
    over = true;
  }
}
