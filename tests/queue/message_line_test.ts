import { assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import type { KeptMessage, Priority } from "@pixl/core/queue";
import { readLine, writeLine } from "../../src/queue/message_line.ts";

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

Deno.test("writeLine() and readLine() keep every message byte by byte, unknown fields too", () => {
  const body = fc.oneof(
    fc.uint8Array(),
    fc.string({ unit: "binary" }).map((text) => new TextEncoder().encode(text)),
    fc.json().map((text) => new TextEncoder().encode(text)),
  );
  const kept = fc.record({
    messageId: fc.string({ unit: "binary" }),
    body,
    attempt: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    priority: fc.constantFrom<Priority>(1, 2, 3, 4, 5),
    traceparent: fc.constant(TRACEPARENT),
  }, { requiredKeys: ["messageId", "body", "attempt"] });
  fc.assert(fc.property(fc.string({ unit: "binary" }), kept, (queue: string, message: KeptMessage) => {
    const line = writeLine(queue, message);
    assertEquals(line.indexOf("\n"), line.length - 1);
    assertEquals(readLine(new TextEncoder().encode(line.slice(0, -1))), { queue, message });
  }));
});

Deno.test("readLine() reads a line that does not say its queue", () => {
  const line = '{"message_id":"a","body":"{}","attempt":1}';
  const message = { messageId: "a", body: new TextEncoder().encode("{}"), attempt: 1 };
  assertEquals(readLine(new TextEncoder().encode(line)), { message });
});

Deno.test("writeLine() keeps a byte order mark", () => {
  const body = new TextEncoder().encode("\ufeff{}");
  assertStringIncludes(writeLine("pacs", { messageId: "one", body, attempt: 1 }), '"body":"\ufeff{}"');
});

for (
  const line of [
    "",
    "{}",
    "[]",
    '{"message_id":"a","attempt":1}',
    '{"queue":1,"message_id":"a","body":"","attempt":1}',
    '{"message_id":"a","body":"","body_base64":"","attempt":1}',
    '{"message_id":"a","body_base64":"*","attempt":1}',
    '{"message_id":1,"body":"","attempt":1}',
    '{"message_id":"a","body":"","attempt":0}',
    '{"message_id":"a","body":"","attempt":1,"priority":6}',
    '{"message_id":"a","body":"","attempt":1,"traceparent":"x"}',
    '{"message_id":"a","body":"","attempt":1,"more":1}',
    '{"message_id":"a","body":"","attempt":1} {}',
    '{"message_id":"a","body":"","attempt"',
  ]
) {
  Deno.test(`readLine() refuses ${line}`, () => {
    assertEquals(readLine(new TextEncoder().encode(line)), undefined);
  });
}
