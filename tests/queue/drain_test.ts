import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { type Broker, drain, MessageFileError, type MessageFileErrorCode } from "@pixl/core/queue";
import { writeLine } from "../../src/queue/message_line.ts";
import { depthBecomes, ids, message, messages, take } from "./broker_conformance.ts";
import { idsOf, onEachBroker, temporaryFolder } from "./each_broker.ts";

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

interface Line {
  readonly queue: string;
  readonly message_id: string;
  readonly body?: string;
  readonly body_base64?: string;
  readonly priority?: number;
  readonly traceparent?: string;
  readonly attempt: number;
}

onEachBroker(({ test }) => {
  test("drain() moves what waits, delayed too, to lines of JSON, and leaves the rest", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pacs.jsonl");
    await broker.publish(queue, [
      ...messages(3),
      { messageId: "traced", body: new Uint8Array([0xff, 0]), priority: 2, traceparent: TRACEPARENT, attempt: 4 },
    ]);
    await using subscription = await broker.subscribe(queue);
    const taken = [
      await take(subscription),
      await take(subscription),
      await take(subscription),
      await take(subscription),
    ];
    const named = (id: string) => taken.find(({ messageId }) => messageId === id) ?? assert(false, id);
    await named("message-0000")?.retry(3_600_000);
    await named("message-0001")?.deadLetter("refused");
    await named("traced")?.release();
    await depthBecomes(broker, queue, { ready: 1, delayed: 1, dead: 1 });

    assertEquals(await drain(broker, queue, file), 2);

    await named("message-0002")?.release();
    await depthBecomes(broker, queue, { ready: 1, delayed: 0, dead: 1 });
    const lines = linesOf(await Deno.readTextFile(file));
    assertEquals(lines.map((line) => ({ ...line, published_at: typeof line.published_at })), [
      {
        queue,
        message_id: "message-0000",
        body: '{"n":"message-0000"}',
        attempt: 2,
        published_at: "string",
      },
      {
        queue,
        message_id: "traced",
        body_base64: "/wA=",
        attempt: 4,
        priority: 2,
        traceparent: TRACEPARENT,
        published_at: "string",
      },
    ]);
    assertEquals(await names(folder.path), ["pacs.jsonl"]);
  });

  test("drain() goes on with a file that was cut off, without its torn last line", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pacs.jsonl");
    await broker.publish(queue, messages(3));
    const before = writeLine(queue, { ...message("before"), attempt: 1 });
    await Deno.writeTextFile(`${file}.part`, `${before}${before.slice(0, -1)}${"x".repeat(5_000)}`, { mode: 0o644 });

    assertEquals(await drain(broker, queue, file), 4);

    assertEquals(idsIn(await Deno.readTextFile(file)), ["before", ...ids(3)]);
    assertEquals(await modeOf(file), 0o600);
    await depthBecomes(broker, queue, { ready: 0 });
  });

  test("drain() does not go on with the file of another queue", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pacs.jsonl");
    await broker.publish(queue, messages(3));
    const other = writeLine("cogstack", { ...message("other"), attempt: 1 });
    await Deno.writeTextFile(`${file}.part`, other);

    const error = await assertRejects(() => drain(broker, queue, file), MessageFileError, `'${queue}' to`);

    assertEquals([error.code, error.message.includes("'cogstack'")], ["file-exists", true]);
    assertEquals(await Deno.readTextFile(`${file}.part`), other);
    assertEquals(await idsOf(broker, queue), ids(3));
  });

  test("drain() lets nothing leave the queue before it is forced to the disk", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pacs.jsonl");
    await broker.publish(queue, messages(40));
    const steps: string[] = [];
    const { write, sync } = Deno.FsFile.prototype;
    const { rename } = Deno;
    const watched = new Proxy(broker, {
      get(target, name) {
        if (name !== "walk") return Reflect.get(target, name) as unknown;
        const walk: Broker["walk"] = (queue, place, visit, options) =>
          target.walk(queue, place, async (batch) => {
            const verdicts = await visit(batch);
            steps.push("verdict");
            return verdicts;
          }, options);
        return walk;
      },
    });
    try {
      Deno.FsFile.prototype.write = async function (bytes) {
        const count = await write.call(this, bytes);
        steps.push("write");
        return count;
      };
      Deno.FsFile.prototype.sync = async function () {
        await sync.call(this);
        steps.push((await this.stat()).isDirectory ? "sync folder" : "sync");
      };
      Deno.rename = async (from, to) => {
        await rename(from, to);
        steps.push("rename");
      };
      await drain(watched, queue, file, { batch: 20 });
    } finally {
      Deno.FsFile.prototype.write = write;
      Deno.FsFile.prototype.sync = sync;
      Deno.rename = rename;
    }
    const batch = ["write", "sync", "verdict"];
    assertEquals(steps, ["sync", "sync folder", ...batch, ...batch, "sync", "rename", "sync folder"]);
  });

  test("drain() leaves what it has when it is aborted; again goes on", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pacs.jsonl");
    await broker.publish(queue, messages(50));
    const controller = new AbortController();
    const reason = new Error("enough");
    let drained = 0;
    const stopped = drain(broker, queue, file, {
      batch: 10,
      signal: controller.signal,
      onDrained: (count) => {
        drained += count;
        if (drained === 20) controller.abort(reason);
      },
    });
    assertEquals(await stopped.catch((error: unknown) => error), reason);
    assertEquals(drained, 20);
    assertEquals(await names(folder.path), ["pacs.jsonl.part"]);

    await drain(broker, queue, file);

    // Of the last batch nobody knows whether it was deleted.
    const all = idsIn(await Deno.readTextFile(file));
    assertEquals([...new Set(all)].sort(), ids(50));
    assert(all.length <= 60, `${all.length} lines`);
    await depthBecomes(broker, queue, { ready: 0 });
  });

  test("drain() takes nothing from the queue when the file cannot be used", async (broker, queue) => {
    await using folder = await temporaryFolder();
    await broker.publish(queue, messages(3));
    const at = (name: string) => join(folder.path, name);
    await Deno.writeTextFile(at("there"), "mine");
    await Deno.writeTextFile(
      at("foreign.part"),
      `${writeLine(queue, { ...message("one"), attempt: 1 })}{"MRNSEED": 1}\n`,
    );
    await Deno.symlink(at("elsewhere"), at("link.part"));
    await Deno.writeTextFile(at("target"), "");
    await Deno.symlink(at("target"), at("linked.part"));
    await Deno.mkdir(at("folder.part"));
    const cases: [string, MessageFileErrorCode, string][] = [
      ["there", "file-exists", "give another name"],
      ["foreign", "file-malformed", "line 2"],
      ["link", "file-missing", "link.part"],
      ["linked", "file-exists", "no file of its own"],
      ["folder", "file-failed", "EISDIR"],
      ["missing/pacs", "file-missing", "its folder, must be there"],
    ];
    for (const [name, code, text] of cases) {
      const error = await assertRejects(() => drain(broker, queue, at(name)), MessageFileError, text);
      assertEquals(error.code, code);
      assert(!error.message.includes("MRNSEED"));
    }
    assertEquals(await idsOf(broker, queue), ids(3));
    assertEquals(await Deno.readTextFile(at("there")), "mine");
  });

  test("drain() of an empty queue makes an empty file that only its owner can read", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pacs.jsonl");
    const umask = Deno.umask(0o777);
    try {
      assertEquals(await drain(broker, queue, file), 0);
    } finally {
      Deno.umask(umask);
    }
    assertEquals((await Deno.stat(file)).size, 0);
    assertEquals(await modeOf(file), 0o600);
  });

  test("drain() leaves no empty file behind when it fails", async (broker, queue) => {
    await using folder = await temporaryFolder();
    await assertRejects(() => drain(broker, `${queue}-missing`, join(folder.path, "pacs.jsonl")));
    assertEquals(await names(folder.path), []);
  });

  test("drain() does not share its file with another drain", async (broker, queue) => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "pacs.jsonl");
    await broker.publish(queue, messages(3));
    using other = await Deno.open(`${file}.part`, { createNew: true, write: true });
    await other.lock(true);

    const error = await assertRejects(() => drain(broker, queue, file), MessageFileError);

    assertEquals(error.code, "file-in-use");
    assertEquals(await idsOf(broker, queue), ids(3));
  });
});

function linesOf(text: string): (Line & { readonly published_at?: string })[] {
  assert(text === "" || text.endsWith("\n"));
  return text.split("\n").slice(0, -1).map((line) => JSON.parse(line))
    .sort((a: Line, b: Line) => a.message_id < b.message_id ? -1 : 1);
}

function idsIn(text: string): string[] {
  return linesOf(text).map(({ message_id }) => message_id);
}

async function names(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name).sort();
}

async function modeOf(path: string): Promise<number> {
  return ((await Deno.stat(path)).mode ?? 0) & 0o777;
}
