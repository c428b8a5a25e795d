/** Run by postgres_processes_test.ts: works with a queue in a database, and says what it did, a line each. */
import { openDatabase } from "@pixl/core/database";
import { PostgresBroker } from "@pixl/core/queue";
import { message } from "./broker_conformance.ts";

const [databaseOptions = "", brokerOptions = "", queue = "", task = ""] = Deno.args;
const say = (text: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));

await using database = await openDatabase(JSON.parse(databaseOptions));
await using broker = new PostgresBroker(database.sql, JSON.parse(brokerOptions));
say("ready");

switch (task) {
  case "publish": {
    for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
      for (const id of text.trim().split("\n")) {
        const at = Date.now();
        await broker.publish(queue, [message(id)]);
        say(`${id} ${at}`);
      }
    }
    break;
  }
  case "hold": {
    const subscription = await broker.subscribe(queue);
    for (let i = 0; i < 20; i++) {
      const { messageId, attempt } = await subscription.next();
      say(`${messageId} ${attempt}`);
    }
    await new Promise(() => {});
    break;
  }
  case "consume":
  case "consume alone": {
    const subscription = await broker.subscribe(queue, { prefetch: 5, singleActive: task === "consume alone" });
    await Promise.all(Array.from({ length: 5 }, async () => {
      for (;;) {
        const delivery = await subscription.next();
        await delivery.acknowledge();
        say(`${delivery.messageId} ${delivery.attempt}`);
      }
    }));
  }
}
