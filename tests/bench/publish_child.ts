/** Run by queue.ts: publishes a million messages from a generator, and prints the most memory that took, in bytes. */
import { RabbitmqBroker } from "@pixl/core/queue";
import { studies } from "./studies.ts";

const [options = ""] = Deno.args;

let most = 0;
const timer = setInterval(() => most = Math.max(most, Deno.memoryUsage().rss), 20);
await using broker = await RabbitmqBroker.open(JSON.parse(options));
await broker.declare("million");
await broker.publish("million", studies(1_000_000));
clearInterval(timer);
await broker.purge("million");
Deno.stdout.writeSync(new TextEncoder().encode(String(most)));
