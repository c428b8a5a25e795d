import { assert, assertEquals, assertLess } from "@std/assert";
import { migrate, openDatabase, type PostgresOptions, SharedRate } from "@pixl/core/database";
import { SharedTokenBucket } from "@pixl/core/rate-limiter";
import { fromFileUrl } from "../support/paths.ts";
import { freshDatabase, sharedPostgres, startPostgres } from "../support/postgres.ts";
import { testWith } from "../support/programs.ts";
import { until } from "../support/until.ts";

const QUEUE = "pacs";
const RATE = 50;
const CAPACITY = 10;
const SECONDS = 30;

interface Taker extends AsyncDisposable {
  readonly times: readonly number[];
  go(): Promise<void>;
  kill(): Promise<void>;
}

/** Starts a process that takes tokens as soon as it is told to. */
async function startTaker(options: PostgresOptions): Promise<Taker> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", fromFileUrl(new URL("shared_child.ts", import.meta.url)), JSON.stringify(options), QUEUE],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const input = child.stdin.getWriter();
  const tell = () => input.write(new Uint8Array(1));
  const times: number[] = [];
  const { promise: ready, resolve } = Promise.withResolvers<void>();
  const read = (async () => {
    let rest = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "ready") resolve();
        else times.push(Number(line));
      }
    }
  })();
  const end = async () => {
    await Promise.all([read, child.status]);
    await input.close().catch(() => {});
  };
  await ready;
  return {
    times,
    go: tell,
    async kill() {
      child.kill("SIGKILL");
      await end();
    },
    async [Symbol.asyncDispose]() {
      await tell().catch(() => {});
      await end();
    },
  };
}

/** Four processes at once for half a minute. @param killEverySeconds One of them is killed and replaced so often. @returns When each token was taken. */
async function takeTogether(killEverySeconds?: number): Promise<number[]> {
  await using server = await sharedPostgres();
  await using options = await freshDatabase(server);
  await using database = await openDatabase(options);
  await migrate(database);
  const store = new SharedRate(database, QUEUE, { rate: 5, capacity: 5 });
  await store.set({ rate: 0, capacity: CAPACITY });
  const takers = await Promise.all(Array.from({ length: 4 }, () => startTaker(options)));
  const all = [...takers];
  await store.set({ rate: RATE });
  const start = Date.now();
  for (const taker of takers) await taker.go();
  for (let kills = 1; killEverySeconds !== undefined && kills * killEverySeconds < SECONDS; kills++) {
    const replacement = await startTaker(options);
    all.push(replacement);
    await sleepUntil(start + kills * killEverySeconds * 1_000);
    await takers.shift()?.kill();
    takers.push(replacement);
    await replacement.go();
  }
  await sleepUntil(start + SECONDS * 1_000);
  await Promise.all(takers.map((taker) => taker[Symbol.asyncDispose]()));
  return all.flatMap(({ times }) => times).filter((at) => at < start + SECONDS * 1_000).toSorted((a, b) => a - b);
}

const sleepUntil = (at: number) => new Promise((resolve) => setTimeout(resolve, Math.max(0, at - Date.now())));

function assertShared(times: readonly number[]): void {
  const most = RATE * SECONDS + CAPACITY;
  assert(times.length <= most, `${times.length} of at most ${most}`);
  assert(times.length >= 0.97 * RATE * SECONDS, `${times.length} of ${RATE * SECONDS}`);
  // Not only over all, but in any time: 0.1 s is the bucket's own, the rest is what this machine needs to print a line.
  let first = 0;
  times.forEach((at, i) => {
    for (first = 0; first <= i; first++) {
      const ms = at - (times[first] ?? at);
      assert(i - first + 1 <= CAPACITY + RATE * (ms + 300) / 1_000, `${i - first + 1} in ${ms} ms`);
    }
  });
}

testWith("postgresql", "SharedTokenBucket: four processes share 50 a second for half a minute, to 3 %", async () => {
  assertShared(await takeTogether());
});

testWith(
  "postgresql",
  "SharedTokenBucket: killing one of four processes every five seconds mints nothing and loses less than 3 %",
  async () => {
    assertShared(await takeTogether(5));
  },
);

testWith(
  "postgresql",
  "SharedTokenBucket: a rate set by another process is there within a second, and after a restart",
  async () => {
    await using server = await sharedPostgres();
    await using options = await freshDatabase(server);
    await using database = await openDatabase(options);
    await migrate(database);
    await using other = await openDatabase(options);
    const store = new SharedRate(database, QUEUE, { rate: 5, capacity: 5 });
    const stop = new AbortController();
    {
      await using bucket = await SharedTokenBucket.open(store);
      const taking = (async () => {
        for (;;) await bucket.take(1, { signal: stop.signal });
      })();
      taking.catch(() => {});
      for (const rate of [0, 20, 0.5]) {
        await new SharedRate(other, QUEUE, { rate: 5, capacity: 5 }).set({ rate });
        const set = performance.now();
        await until("the rate has come", () => bucket.rate === rate, 5_000);
        assertLess(performance.now() - set, 1_000);
      }
      stop.abort();
      await taking.catch(() => {});
    }
    await using again = await SharedTokenBucket.open(store);
    assertEquals(again.rate, 0.5);
  },
);

testWith(
  "postgresql",
  "SharedTokenBucket: with the database's server killed nothing is given out, and it goes on by itself",
  async () => {
    await using server = await startPostgres();
    await using options = await freshDatabase(server);
    await using database = await openDatabase(options);
    await migrate(database);
    await using bucket = await SharedTokenBucket.open(new SharedRate(database, QUEUE, { rate: 50, capacity: 5 }));
    const times: number[] = [];
    const stop = new AbortController();
    const taking = (async () => {
      for (;;) {
        await bucket.take(1, { signal: stop.signal });
        times.push(performance.now());
      }
    })();
    taking.catch(() => {});
    await until("tokens are taken", () => times.length > 20);

    await server.kill();
    const down = performance.now();
    await sleepUntil(Date.now() + 4_000);
    const up = performance.now();
    assertEquals(times.filter((at) => at > down + 1_000).length, 0);
    assertEquals([bucket.waiting, bucket.tokens], [1, 0]);
    await server.restart();

    await until("tokens are taken again", () => times.some((at) => at > up), 10_000);
    stop.abort();
    await taking.catch(() => {});
  },
  { own: true },
);
