import { assertEquals, assertRejects } from "@std/assert";
import { asService, Interrupted } from "../../src/cli/interruption.ts";

for (const by of ["SIGTERM", "SIGINT", "SIGPIPE"] as const) {
  const outcome = by === "SIGTERM" ? "no error" : "an interruption";
  Deno.test(`asService(): ${by} is ${outcome}, also while the service starts`, async () => {
    const abort = new AbortController();
    abort.abort(new Interrupted(by));
    for (const work of [() => Promise.resolve(), () => Promise.reject(abort.signal.reason)]) {
      const running = asService(abort.signal, work);
      if (by === "SIGTERM") await running;
      else assertEquals((await assertRejects(() => running, Interrupted)).by, by);
    }
  });
}

Deno.test("asService() passes on what went wrong, also while it is stopped", async () => {
  const abort = new AbortController();
  abort.abort(new Interrupted("SIGTERM"));
  await assertRejects(() => asService(abort.signal, () => Promise.reject(new TypeError("a fault"))), TypeError);
});
