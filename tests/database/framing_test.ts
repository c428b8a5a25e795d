import { assertEquals, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { concat, endsIdle, frame, MessageFramer, tailOf } from "../../src/database/embedded/framing.ts";

function drain(framer: MessageFramer): Uint8Array[] {
  const messages: Uint8Array[] = [];
  for (let message = framer.next(); message !== undefined; message = framer.next()) messages.push(message.slice());
  return messages;
}

Deno.test("MessageFramer cuts the same messages out of any chunks", () => {
  const bodies = fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 8 });
  fc.assert(fc.property(bodies, fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (parts, sizes) => {
    const messages = parts.map((body) => frame("Q", body));
    const stream = concat(messages);
    const framer = new MessageFramer();
    framer.start();
    const found: Uint8Array[] = [];
    for (let at = 0, turn = 0; at < stream.length; turn++) {
      const size = sizes[turn % sizes.length] ?? 1;
      framer.push(stream.subarray(at, at + size));
      found.push(...drain(framer));
      at += size;
    }
    assertEquals(found, messages);
  }));
});

Deno.test("MessageFramer reads the first message, which has no type", () => {
  const framer = new MessageFramer();
  const startup = Uint8Array.of(0, 0, 0, 8, 0, 3, 0, 0);
  framer.push(concat([startup, frame("Q")]));
  assertEquals(framer.next(), startup);
  framer.start();
  assertEquals(framer.next(), frame("Q"));
  assertEquals(framer.next(), undefined);
});

Deno.test("MessageFramer refuses a length that makes no sense", () => {
  for (const length of [[0, 0, 0, 3], [0xff, 0xff, 0xff, 0xff]]) {
    const framer = new MessageFramer();
    framer.push(Uint8Array.from(length));
    assertThrows(() => framer.next(), RangeError);
  }
});

Deno.test("endsIdle() knows the end of an answer that came in pieces", () => {
  const idle = concat([frame("C", new Uint8Array(20)), frame("Z", Uint8Array.of(0x49))]);
  const inTransaction = concat([frame("C", new Uint8Array(20)), frame("Z", Uint8Array.of(0x54))]);
  for (
    const [answer, expected] of [[idle, true], [inTransaction, false], [frame("1"), false], [
      new Uint8Array(),
      false,
    ]] as const
  ) {
    for (const size of [1, 2, 5, 7, 100]) {
      let tail: Uint8Array = new Uint8Array();
      for (let at = 0; at < answer.length; at += size) tail = tailOf(tail, answer.subarray(at, at + size));
      assertEquals(endsIdle(tail), expected);
    }
  }
});
