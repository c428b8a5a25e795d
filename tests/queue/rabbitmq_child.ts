/** Run by rabbitmq_faults_test.ts: opens a broker, says so, and closes it when a line comes in. */
import { RabbitmqBroker } from "@pixl/core/queue";

const [options = "", queue = ""] = Deno.args;
const say = (text: string) => Deno.stdout.write(new TextEncoder().encode(`${text}\n`));

const broker = await RabbitmqBroker.open(JSON.parse(options));
await broker.declare(queue);
await broker.publish(queue, [{ messageId: "one", body: new Uint8Array(2) }]);
const subscription = await broker.subscribe(queue, { prefetch: 2 });
await subscription.next();
const waiting = subscription.next().catch(() => {});
await say("ready");
await Deno.stdin.read(new Uint8Array(1));
await broker[Symbol.asyncDispose]();
await waiting;
await say("closed");
