import { migrate, openDatabase } from "@pixl/core/database";
import { PostgresBroker } from "@pixl/core/queue";
import { type BenchRow, compare, perSecond } from "./bench.ts";

const MESSAGES = 20_000;
const BODY = "x".repeat(250);

/** Publishing to the embedded queue, beside inserting the same rows without one. */
export async function benchQueue(): Promise<BenchRow[]> {
  const dir = await Deno.makeTempDir({ prefix: "pixl-bench-" });
  try {
    await using database = await openDatabase({ kind: "embedded", dir: `${dir}/data` });
    await migrate(database);
    await using broker = new PostgresBroker(database.sql);
    await broker.declare("bench");
    await database.sql`create table bench (id text, body bytea)`;
    const messages = Array.from(
      { length: MESSAGES },
      (_, i) => ({ messageId: String(i), body: new TextEncoder().encode(BODY) }),
    );
    return [
      await compare({
        area: "queue",
        name: "publish, embedded",
        unit: "messages/s",
        goal: 0.5,
        ours: () => perSecond(MESSAGES, () => broker.publish("bench", messages)),
        peers: {
          "bare unnest": () =>
            perSecond(MESSAGES, async () => {
              for (let at = 0; at < MESSAGES; at += 1_000) {
                const batch = messages.slice(at, at + 1_000);
                await database.sql`
                  insert into bench (id, body)
                  select id, decode(body, 'hex')
                  from unnest(${batch.map(({ messageId }) => messageId)}::text[], ${
                  batch.map(({ body }) => body.toHex())
                }::text[]) as t (id, body)`;
              }
            }),
        },
      }),
    ];
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}
