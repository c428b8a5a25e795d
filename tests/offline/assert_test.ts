import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  AssertionError,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertNotMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";

/** The text of the failure; not by `assertThrows`, which is itself under test. */
function failureOf(run: () => void): string {
  try {
    run();
  } catch (error) {
    if (error instanceof AssertionError) return error.message;
    throw error;
  }
  throw new Error("It did not fail");
}

async function failureOfPromise(run: () => Promise<unknown>): Promise<string> {
  const [result] = await Promise.allSettled([run()]);
  return failureOf(() => {
    if (result.status === "rejected") throw result.reason;
  });
}

class Study {
  #uid: string;
  constructor(readonly mrn: string, uid = "1.2") {
    this.#uid = uid;
  }
  get uid(): string {
    return this.#uid;
  }
}

class Series {
  constructor(readonly mrn: string) {}
}

const circle = () => {
  const one: Record<string, unknown> = {};
  one["itself"] = one;
  return one;
};

const used = (expression: RegExp) => {
  expression.test("a");
  return expression;
};

const EQUAL: Record<string, [unknown, unknown]> = {
  "0 and -0": [[0], [-0]],
  "NaN and NaN": [{ n: NaN }, { n: NaN }],
  "properties in another order": [{ a: 1, b: 2 }, { b: 2, a: 1 }],
  "a plain object and one without a prototype": [{ a: 1 }, Object.assign(Object.create(null), { a: 1 })],
  "sets in another order": [new Set([1, { a: 2 }]), new Set([{ a: 2 }, 1])],
  "maps in another order, with objects as keys": [
    new Map([[{ a: 1 }, [1]], [{ a: 2 }, [2]]]),
    new Map([[{ a: 2 }, [2]], [{ a: 1 }, [1]]]),
  ],
  "instances of one class": [new Study("a"), new Study("a")],
  "dates at one time": [new Date(7), new Date(7)],
  "invalid dates": [new Date(NaN), new Date(NaN)],
  "bytes": [new Uint8Array([1, 2]), new Uint8Array([1, 2])],
  "buffers": [new Uint8Array([1, 2]).buffer, new Uint8Array([1, 2]).buffer],
  "expressions, one of them used": [/a/g, used(/a/g)],
  "addresses": [new URL("http://localhost/a"), new URL("http://localhost/a")],
  "circles": [circle(), circle()],
};

const UNEQUAL: Record<string, [unknown, unknown]> = {
  "1 and '1'": [1, "1"],
  "1 and 1n": [1, 1n],
  "null and undefined": [null, undefined],
  "a property that is undefined and none": [{ a: undefined }, {}],
  "undefined properties of other names": [{ a: undefined }, { b: undefined }],
  "a hole and undefined": [[undefined], new Array(1)],
  "an array and an object": [[1], { 0: 1 }],
  "arrays in another order": [[1, 2], [2, 1]],
  "an instance and a plain object": [new Series("a"), { mrn: "a" }],
  "instances of two classes": [new Study("a"), new Series("a")],
  "instances with other getters": [new Study("a", "1.2"), new Study("a", "1.3")],
  "symbol properties": [{ [Symbol.for("a")]: 1 }, { [Symbol.for("a")]: 2 }],
  "sets": [new Set([{ a: 1 }]), new Set([{ a: 2 }])],
  "sets of other sizes": [new Set([1]), new Set([1, 2])],
  "a set and one with a property": [new Set([1]), Object.assign(new Set([1]), { a: 1 })],
  "values of a map": [new Map([["a", [1]]]), new Map([["a", [2]]])],
  "values of a map with objects as keys": [new Map([[{ a: 1 }, 1]]), new Map([[{ a: 1 }, 2]])],
  "keys of a map": [new Map([[{ a: 1 }, 1]]), new Map([[{ a: 2 }, 1]])],
  "an undefined value of a map and none": [new Map([["a", undefined]]), new Map([["b", undefined]])],
  "dates": [new Date(7), new Date(8)],
  "bytes": [new Uint8Array([1, 2]), new Uint8Array([1, 3])],
  "bytes of other lengths": [new Uint8Array([1]), new Uint8Array([1, 2])],
  "bytes and signed bytes": [new Uint8Array([1]), new Int8Array([1])],
  "buffers": [new Uint8Array([1, 2]).buffer, new Uint8Array([1, 3]).buffer],
  "expressions": [/a/, /a/g],
  "addresses": [new URL("http://localhost/a"), new URL("http://localhost/b")],
  "queries": [new URLSearchParams("a=1"), new URLSearchParams("a=2")],
  "errors made at two places": [new Error("a"), new Error("a")],
  "functions with one text": [() => 1, () => 1],
};

for (const [name, [a, b]] of Object.entries(EQUAL)) {
  Deno.test(`assertEquals() takes as equal: ${name}`, () => {
    assertEquals(a, b);
    assertEquals(b, a);
    failureOf(() => assertNotEquals(a, b));
  });
}

for (const [name, [a, b]] of Object.entries(UNEQUAL)) {
  Deno.test(`assertEquals() tells apart: ${name}`, () => {
    failureOf(() => assertEquals(a, b));
    failureOf(() => assertEquals(b, a));
    assertNotEquals(a, b);
  });
}

Deno.test("assertEquals() refuses weak collections, which it cannot look into", () => {
  assertThrows(() => assertEquals(new WeakSet(), new WeakSet()), TypeError);
  assertThrows(() => assertEquals(new WeakMap(), new WeakMap()), TypeError);
});

Deno.test("assertEquals() says the caller's message and both values", () => {
  const text = failureOf(() => assertEquals({ rows: 17 }, { rows: 18 }, "After the export"));

  assertStringIncludes(text, "Values are not equal: After the export");
  assertStringIncludes(text, "17");
  assertStringIncludes(text, "18");
});

Deno.test("assert() narrows, and fails with the message alone", () => {
  const text: string | undefined = ["a"].at(0);
  assert(text);
  assertEquals(text.length, 1);
  assertEquals(failureOf(() => assert(0, "No rows")), "No rows");
});

Deno.test("assertStrictEquals() goes by identity, and tells 0 from -0", () => {
  const rows = [1];
  assertStrictEquals(rows, rows);
  assertStrictEquals(NaN, NaN);
  failureOf(() => assertStrictEquals([1], [1]));
  failureOf(() => assertStrictEquals(0, -0));
});

Deno.test("assertInstanceOf() takes subclasses, and names both classes", () => {
  const error: unknown = new RangeError("a");
  assertInstanceOf(error, Error);
  assertEquals(error.message, "a");
  assertEquals(
    failureOf(() => assertInstanceOf(error, TypeError, "Here")),
    'Expected object to be an instance of "TypeError" but was "RangeError": Here',
  );
  failureOf(() => assertInstanceOf(1, Number));
});

Deno.test("assertMatch() and assertNotMatch() are opposites", () => {
  assertMatch("1.2.840", /^[\d.]+$/);
  assertNotMatch("1.2.a", /^[\d.]+$/);
  failureOf(() => assertMatch("1.2.a", /^[\d.]+$/));
  failureOf(() => assertNotMatch("1.2.840", /^[\d.]+$/));
});

Deno.test("assertMatch() goes on from where a global expression stopped", () => {
  const expression = /a/g;
  assertMatch("ab", expression);
  failureOf(() => assertMatch("ab", expression));
});

Deno.test("assertStringIncludes() wants the text as it is", () => {
  assertStringIncludes("study 1.2", "1.2");
  failureOf(() => assertStringIncludes("study 132", "1.2"));
});

Deno.test("assertAlmostEquals() allows 1e-7 of the expected number, or the tolerance", () => {
  assertAlmostEquals(0.1 + 0.2, 0.3);
  assertAlmostEquals(1e10 + 999, 1e10);
  assertAlmostEquals(NaN, NaN);
  assertAlmostEquals(1.5, 1, 0.5);
  failureOf(() => assertAlmostEquals(1.000001, 1));
  failureOf(() => assertAlmostEquals(1.6, 1, 0.5));
  failureOf(() => assertAlmostEquals(1, NaN));
  failureOf(() => assertAlmostEquals(1, Infinity));
});

Deno.test("assertGreater(), assertLess() and their siblings differ where both are equal", () => {
  for (const [less, more] of [[1, 2], [1n, 2n], ["a", "b"], [new Date(1), new Date(2)]]) {
    assertGreater(more, less);
    assertGreaterOrEqual(more, less);
    assertLess(less, more);
    assertLessOrEqual(less, more);
    failureOf(() => assertGreaterOrEqual(less, more));
    failureOf(() => assertLessOrEqual(more, less));
  }
  assertGreaterOrEqual(1, 1);
  assertLessOrEqual(1, 1);
  failureOf(() => assertGreater(1, 1));
  failureOf(() => assertLess(1, 1));
});

Deno.test("assertLess() is never true of NaN", () => {
  failureOf(() => assertLess(NaN, 1));
  failureOf(() => assertGreaterOrEqual(NaN, NaN));
});

const raise = (reason: unknown) => () => {
  throw reason;
};

Deno.test("assertThrows() returns what was thrown, an error or not", () => {
  const error = new RangeError("a");
  assertStrictEquals(assertThrows(raise(error)), error);
  assertStrictEquals(assertThrows(raise(error), Error, "a"), error);
  assertStrictEquals(assertThrows(raise(undefined)), undefined);
});

Deno.test("assertThrows() wants the class, and the text in the message", () => {
  const error = new RangeError("Bad rate");
  failureOf(() => assertThrows(raise(error), TypeError));
  failureOf(() => assertThrows(raise(error), RangeError, "rates"));
  failureOf(() => assertThrows(raise("Bad rate"), Error));
});

Deno.test("assertThrows() reads the message without its colours", () => {
  assertThrows(raise(new Error("\x1b[31mBad\x1b[39m rate")), Error, "Bad rate");
});

Deno.test("assertThrows() fails if nothing is thrown, with the caller's message", () => {
  assertEquals(failureOf(() => assertThrows(() => 1)), "Expected function to throw.");
  assertEquals(failureOf(() => assertThrows(() => 1, "Here")), "Expected function to throw: Here");
  assertEquals(failureOf(() => assertThrows(() => 1, Error, "a", "Here")), "Expected function to throw: Here");
});

Deno.test("assertRejects() returns the reason, an error or not", async () => {
  const error = new RangeError("a");
  assertStrictEquals(await assertRejects(() => Promise.reject(error)), error);
  assertStrictEquals(await assertRejects(() => Promise.reject(error), Error, "a"), error);
  assertStrictEquals(await assertRejects(() => Promise.reject(null)), null);
});

Deno.test("assertRejects() wants the class, and the text in the message", async () => {
  const rejected = () => Promise.reject(new RangeError("Bad rate"));
  await failureOfPromise(() => assertRejects(rejected, TypeError));
  await failureOfPromise(() => assertRejects(rejected, RangeError, "rates"));
  await failureOfPromise(() => assertRejects(() => Promise.reject("Bad rate"), Error));
});

Deno.test("assertRejects() fails if the promise is fulfilled", async () => {
  assertEquals(
    await failureOfPromise(() => assertRejects(() => Promise.resolve(), "Here")),
    "Expected function to reject: Here",
  );
});

Deno.test("assertRejects() fails if the function throws rather than rejects", async () => {
  const text = await failureOfPromise(() => assertRejects(raise(new Error("a")), Error, "a"));
  assertEquals(text, "Function throws when expected to reject.");
});
