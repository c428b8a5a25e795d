import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { join } from "node:path";
import {
  drain,
  type KeptMessage,
  MessageFileError,
  type MessageFileErrorCode,
  PostgresBroker,
  PublishError,
  restore,
} from "@pixl/core/queue";
import { writeLine } from "../../src/queue/message_line.ts";
import { ids, message, messages, queueName, take } from "./broker_conformance.ts";
import { idsOf, onEachBroker, temporaryFolder, waiting } from "./each_broker.ts";

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const lineOf = (id: string) => writeLine("pacs", { ...message(id), attempt: 1 });

onEachBroker(({ test }) => {
  test("restore() brings back what drain() took, with attempt, priority and trace", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pacs.jsonl");
    const body = new TextEncoder().encode(
      '{ "py/object": "core.Message", "unknown": [1.0, "\\u0000"], "mrn": "MRNSEED" }',
    );
    await broker.publish(queue, [
      { messageId: "one", body, attempt: 3, priority: 4, traceparent: TRACEPARENT },
      { messageId: "two", body: new Uint8Array([0xff, 0xfe, 0]) },
      { messageId: "", body: new Uint8Array() },
    ]);
    const before = await waiting(broker, queue);
    assertEquals(await drain(broker, queue, file), 3);
    assertEquals(await idsOf(broker, queue), []);

    assertEquals(await restore(broker, queue, file), 3);

    const after = await waiting(broker, queue);
    assertEquals(sorted(after), sorted(before));
    assertEquals(await names(folder.path), ["pacs.jsonl.restored"]);
  });

  test("restore() puts messages on another queue, as another attempt", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pacs.jsonl");
    await broker.publish(queue, messages(1));
    {
      await using subscription = await broker.subscribe(queue);
      await (await take(subscription)).retry(3_600_000);
    }
    await drain(broker, queue, file);
    const other = queueName();
    await broker.declare(other);

    await restore(broker, other, file);

    await using subscription = await broker.subscribe(other);
    const delivery = await take(subscription);
    assertEquals([delivery.messageId, delivery.attempt], ["message-0000", 2]);
    await delivery.acknowledge();
  });

  test("restore() publishes nothing from a file that cannot be used", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const at = (name: string) => join(folder.path, name);
    await Deno.writeTextFile(at("wrong"), `${ids(1_100).map(lineOf).join("")}{"mrn":"MRNSEED"}\n${lineOf("last")}`);
    await Deno.writeTextFile(at("torn"), lineOf("one") + lineOf("two").slice(0, -1));
    await Deno.writeTextFile(at("blank"), `${lineOf("one")}\n`);
    await Deno.writeFile(at("binary"), new Uint8Array(3_000).map((_, i) => i * 7));
    await Deno.writeTextFile(at("cut-off.part"), lineOf("one"));
    await Deno.writeTextFile(at("again"), lineOf("one"));
    await Deno.writeTextFile(at("again.restored"), lineOf("one"));
    await Deno.mkdir(at("folder"));
    const cases: [string, MessageFileErrorCode, string][] = [
      ["wrong", "file-malformed", "line 1101"],
      ["torn", "file-malformed", "line 2"],
      ["blank", "file-malformed", "line 2"],
      ["binary", "file-malformed", "line 1"],
      ["cut-off.part", "file-unfinished", `'${at("cut-off")}' again`],
      ["cut-off", "file-unfinished", "its drain was cut off"],
      ["again", "file-exists", "move it away"],
      ["folder", "file-malformed", "it is no file"],
      ["missing", "file-missing", "must be there"],
    ];
    const before = await names(folder.path);
    for (const [name, code, text] of cases) {
      const error = await assertRejects(() => restore(broker, queue, at(name)), MessageFileError, text);
      assertEquals(error.code, code);
      assert(!error.message.includes("MRNSEED"));
    }
    assertEquals(await idsOf(broker, queue), []);
    assertEquals(await names(folder.path), before);
  });

  test("restore() leaves the file and says how many when some were not confirmed", async (broker) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pacs.jsonl");
    await Deno.writeTextFile(file, ids(3).map(lineOf).join(""));

    const error = await assertRejects(() => restore(broker, queueName(), file), MessageFileError, "3 messages of");

    assertEquals(error.code, "not-confirmed");
    assertInstanceOf(error.cause, PublishError);
    assertEquals([...error.cause.unconfirmed].sort(), ids(3));
    assertEquals(await names(folder.path), ["pacs.jsonl"]);
  });

  test("restore() counts what was confirmed before the broker failed, and leaves the file", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pacs.jsonl");
    await Deno.writeTextFile(file, ids(1_500).map(lineOf).join(""));
    let read = 0;
    let closing: PromiseLike<void> | undefined;
    const onRestored = () => {
      // PostgreSQL has stored the first thousand by then.
      if (++read === 1_001) closing = broker[Symbol.asyncDispose]();
    };

    const error = await assertRejects(() => restore(broker, queue, file, { onRestored }), MessageFileError);
    await closing;

    assertEquals(error.code, "not-confirmed");
    assertInstanceOf(error.cause, PublishError);
    const { confirmed, unconfirmed } = error.cause;
    if (broker instanceof PostgresBroker) assertEquals(confirmed, 1_000);
    assertEquals(confirmed + unconfirmed.length, 1_500);
    assertEquals(await names(folder.path), ["pacs.jsonl"]);
  });

  test("restore() publishes nothing from a file that was restored since it was opened", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pacs.jsonl");
    const { tryLock } = Deno.FsFile.prototype;
    try {
      for (const left of [[], ["pacs.jsonl"]]) {
        await Deno.writeTextFile(file, ids(3).map(lineOf).join(""));
        Deno.FsFile.prototype.tryLock = async function (exclusive) {
          await Deno.rename(file, `${file}.restored`);
          for (const name of left) await Deno.writeTextFile(join(folder.path, name), lineOf("other"));
          return await tryLock.call(this, exclusive);
        };
        const error = await assertRejects(() => restore(broker, queue, file), MessageFileError);
        assertEquals(error.code, "file-missing");
        assertEquals(await names(folder.path), [...left, "pacs.jsonl.restored"]);
        await Deno.remove(`${file}.restored`);
      }
    } finally {
      Deno.FsFile.prototype.tryLock = tryLock;
    }
    assertEquals(await idsOf(broker, queue), []);
  });

  test("restore() does not publish one file twice at once", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pacs.jsonl");
    await Deno.writeTextFile(file, ids(50).map(lineOf).join(""));

    const both = await Promise.allSettled([restore(broker, queue, file), restore(broker, queue, file)]);

    assertEquals(both.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
    assertEquals(await idsOf(broker, queue), ids(50));
  });

  test("restore() of an empty file is 0, and a line may be longer than what is read at once", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const [empty, long] = [join(folder.path, "empty"), join(folder.path, "long")];
    await Deno.writeTextFile(empty, "");
    assertEquals(await restore(broker, queue, empty), 0);
    const body = new TextEncoder().encode("x".repeat(900_000));
    await Deno.writeTextFile(long, writeLine("pacs", { messageId: "long", body, attempt: 1 }) + lineOf("short"));

    assertEquals(await restore(broker, queue, long), 2);

    const lengths = new Map((await waiting(broker, queue)).map(({ messageId, body }) => [messageId, body.length]));
    assertEquals([lengths.get("long"), lengths.get("short")], [900_000, message("short").body.length]);
  });
});

/** What must not change: all but the time. */
function sorted(kept: readonly KeptMessage[]): Omit<KeptMessage, "publishedAt">[] {
  return kept.map(({ publishedAt: _, ...rest }) => rest).sort((a, b) => a.messageId < b.messageId ? -1 : 1);
}

async function names(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name).sort();
}
