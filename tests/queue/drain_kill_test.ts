import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { join } from "node:path";
import { migrate, openDatabase } from "@pixl/core/database";
import { drain, restore } from "@pixl/core/queue";
import { isThere } from "../../src/queue/message_file.ts";
import { writeLine } from "../../src/queue/message_line.ts";
import { freshDatabase, sharedPostgres } from "../support/postgres.ts";
import { type ProgramName, testWith } from "../support/programs.ts";
import { sharedRabbitmq, useSharedRabbitmq } from "../support/rabbitmq.ts";
import { ROOT } from "../support/paths.ts";
import { eventually, ids, message, messages, queueName } from "./broker_conformance.ts";
import { openBroker, type Where } from "./drain_child.ts";
import { idsOf, temporaryFolder } from "./each_broker.ts";

useSharedRabbitmq();

const MESSAGES = 400;
const BATCH = 20;
/** Three batches of PostgreSQL. */
const RESTORED = 2_500;

const BROKERS: readonly [ProgramName, (stack: AsyncDisposableStack) => Promise<Where>][] = [
  ["rabbitmq", async () => {
    const { host, port, username, password } = await sharedRabbitmq();
    return { rabbitmq: { host, port, username, password } };
  }],
  ["postgresql", async (stack) => {
    const options = stack.use(await freshDatabase(stack.use(await sharedPostgres())));
    await using database = await openDatabase(options);
    await migrate(database);
    return { postgres: options };
  }],
];

for (const [program, where] of BROKERS) {
  testWith(program, `drain() of ${program} loses nothing whenever it is killed`, async () => {
    await using stack = new AsyncDisposableStack();
    const [address, folder] = [await where(stack), stack.use(await temporaryFolder())];
    const broker = await openBroker(address, stack);
    let cutOff = 0;
    for (let round = 0; round < 10; round++) {
      const [queue, file] = [queueName(), join(folder.path, `${round}.jsonl`)];
      await broker.declare(queue);
      await broker.publish(queue, messages(MESSAGES));

      // 20 batches in all; none at first.
      await killAfter(2 * round, "drain", address, queue, file);

      const written = await wholeIds(file);
      assertEquals(new Set(written).size, written.length, "a message is in the file twice");
      // What the killed process had in hand comes back when the broker has noticed.
      let left: string[] = [];
      await eventually(async () => {
        left = await idsOf(broker, queue);
        return new Set([...written, ...left]).size === MESSAGES;
      }, () => `${MESSAGES - new Set([...written, ...left]).size} messages are lost`);
      if (written.length > 0 && written.length < MESSAGES) cutOff++;

      // The last batch of the killed process may still come back.
      const lines = await Deno.stat(file).then(() => MESSAGES, () => drain(broker, queue, file));
      const all = [...await wholeIds(file), ...await idsOf(broker, queue)];
      assertEquals([...new Set(all)].sort(), ids(MESSAGES));
      assert(lines <= MESSAGES + BATCH, `${lines - MESSAGES} messages are in the file twice`);
      assert(all.length <= MESSAGES + BATCH, `${all.length - MESSAGES} messages are there twice`);
    }
    assert(cutOff > 0, "no kill came in the middle");
  });
}

for (const [program, where] of BROKERS) {
  testWith(program, `restore() to ${program} loses nothing whenever it is killed`, async () => {
    await using stack = new AsyncDisposableStack();
    const [address, folder] = [await where(stack), stack.use(await temporaryFolder())];
    const broker = await openBroker(address, stack);
    const text = ids(RESTORED).map((id) => writeLine("pacs", { ...message(id), attempt: 1 })).join("");
    let cutOff = 0;
    for (const said of [0, 1, 1_001, 2_001, RESTORED]) {
      const [queue, file] = [queueName(), join(folder.path, `${said}.jsonl`)];
      await broker.declare(queue);
      await Deno.writeTextFile(file, text);

      await killAfter(said, "restore", address, queue, file);

      // Renamed only when all is on the queue; else all of it is still in the file.
      if (await isThere(file)) {
        cutOff++;
        assertEquals(await Deno.readTextFile(file), text);
        assertEquals(await restore(broker, queue, file), RESTORED);
      }
      assertEquals(await Deno.readTextFile(`${file}.restored`), text);
      assertEquals([...new Set(await idsOf(broker, queue))], ids(RESTORED));
    }
    assert(cutOff > 0, "no kill came in the middle");
  });
}

testWith("rabbitmq", "drain() deletes nothing more from the queue when the disk is full", async () => {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  const { host, port, username, password } = await sharedRabbitmq();
  const address = { rabbitmq: { host, port, username, password } };
  const broker = await openBroker(address, stack);
  const [queue, file] = [queueName(), join(folder.path, "pacs.jsonl")];
  await broker.declare(queue);
  await broker.publish(queue, messages(MESSAGES));
  // As a disk does: the system takes no more than so many blocks of 512 or 1,024 bytes, in the middle of a batch.
  const sh = ["-c", 'trap "" XFSZ; ulimit -f 15; exec "$0" "$@"', Deno.execPath()];
  const command = new Deno.Command("/bin/sh", {
    args: [...sh, ...child("drain", address, queue, file)],
    stdin: "null",
  });

  const { code, stdout } = await command.output();

  const said = new TextDecoder().decode(stdout).trimEnd().split("\n");
  assertEquals(code, 4);
  assertMatch(said.at(-1) ?? "", /^Cannot write '.*pacs\.jsonl\.part' \(os error 27\): make room/);
  const [written, left] = [await wholeIds(file), await idsOf(broker, queue)];
  assertEquals([...written, ...left].sort(), ids(MESSAGES));
  assertLess(written.length, MESSAGES);
  assertEquals(written.length, BATCH * said.filter((line) => line === `drained ${BATCH}`).length);

  assertEquals(await drain(broker, queue, file), MESSAGES);
});

function child(task: "drain" | "restore", where: Where, queue: string, file: string): string[] {
  const script = join(import.meta.dirname ?? ".", "drain_child.ts");
  const options = ["-q", "-A", "--no-check", "--ignore-env", "-c", join(ROOT, "deno.json")];
  return ["run", ...options, script, task, JSON.stringify(where), queue, file, String(BATCH)];
}

/** Runs it and kills it when it has said so many lines since it began. */
async function killAfter(said: number, ...what: Parameters<typeof child>): Promise<void> {
  const process = new Deno.Command(Deno.execPath(), {
    args: child(...what),
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const lines = linesOf(process.stdout);
  assertEquals((await lines.next()).value, "begin");
  for (let i = 0; i < said; i++) assert(!(await lines.next()).done, `it said less than ${said} lines`);
  try {
    process.kill("SIGKILL");
  } catch {
    // It was done before.
  }
  await lines.return();
  await process.status;
}

async function* linesOf(output: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string, void> {
  let begun = "";
  for await (const text of output.pipeThrough(new TextDecoderStream())) {
    const lines = (begun + text).split("\n");
    begun = lines.pop() ?? "";
    yield* lines;
  }
}

/** Ids of the lines that have an end, of the file or of what was left of it. */
async function wholeIds(file: string): Promise<string[]> {
  const text = await Deno.readTextFile(file).catch(() => Deno.readTextFile(`${file}.part`)).catch(() => "");
  return text.split("\n").slice(0, -1).map((line) => JSON.parse(line).message_id);
}
