import { assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { add, multiply } from "../../src/rate_limiter/exact_sum.ts";
import { exact } from "./exact_numbers.ts";

const number = fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e100, max: 1e100 })
  .filter((x) => x === 0 || Math.abs(x) > 1e-100);

Deno.test("add() loses nothing", () => {
  fc.assert(fc.property(number, number, (a, b) => {
    const { sum, rest } = add(a, b);
    assertEquals(exact(sum) + exact(rest), exact(a) + exact(b));
  }));
});

Deno.test("multiply() loses nothing", () => {
  fc.assert(fc.property(number, number, (a, b) => {
    const { product, rest } = multiply(a, b);
    assertEquals((exact(product) + exact(rest)) << 1_074n, exact(a) * exact(b));
  }));
});

Deno.test("multiply() of what is too large for its parts gives the rounded product", () => {
  assertEquals(multiply(1e305, 2), { product: 2e305, rest: 0 });
});
