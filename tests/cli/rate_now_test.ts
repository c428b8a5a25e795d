import { assertEquals } from "@std/assert";
import { rateNow } from "../../src/cli/rate_now.ts";

const schedule = "mon-fri 08:00-18:00 UTC = 1; otherwise 5";
const at = (time: string) => Date.parse(`2026-11-25T${time}Z`); // a Wednesday

Deno.test("rateNow() is the schedule's once its window began after the rate was set", () => {
  const settings = { rate: 5, rateSetAt: at("07:00"), schedule };
  assertEquals(rateNow(settings, at("07:59")), 5);
  assertEquals(rateNow(settings, at("08:00")), 1);
  assertEquals(rateNow(settings, at("18:00")), 5);
});

Deno.test("rateNow() is what was set by hand within the window", () => {
  assertEquals(rateNow({ rate: 3, rateSetAt: at("09:00"), schedule }, at("17:00")), 3);
  assertEquals(rateNow({ rate: 3, rateSetAt: at("09:00"), schedule }, at("18:00")), 5);
});

Deno.test("rateNow() without a schedule, or with one of a newer version, is what was set", () => {
  assertEquals(rateNow({}, at("09:00")), undefined);
  assertEquals(rateNow({ rate: 0, rateSetAt: 0 }, at("09:00")), 0);
  assertEquals(rateNow({ rate: 2, rateSetAt: 0, schedule: "at full moon" }, at("09:00")), 2);
});
