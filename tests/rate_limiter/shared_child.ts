/** Run by shared_processes_test.ts: takes tokens of a shared bucket until it is told to stop, and prints when it got each. */
import { openDatabase, SharedRate } from "@pixl/core/database";
import { SharedTokenBucket } from "@pixl/core/rate-limiter";

/** Studies in hand at once, as a consumer has. */
const TAKERS = 5;

const [options = "", queue = ""] = Deno.args;
const say = (text: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));

await using database = await openDatabase(JSON.parse(options));
const store = new SharedRate(database, queue, { rate: 5, capacity: 5 });
await using bucket = await SharedTokenBucket.open(store);
say("ready");
await Deno.stdin.read(new Uint8Array(1));
const stop = new AbortController();
const taking = Promise.all(Array.from({ length: TAKERS }, async () => {
  while (!stop.signal.aborted) {
    await bucket.take(1, { signal: stop.signal });
    say(String(Date.now()));
  }
}));
taking.catch(() => {});
await Deno.stdin.read(new Uint8Array(1));
stop.abort();
await taking.catch(() => {});
