import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { FileToSend } from "../../src/pipeline/file_to_send.ts";
import { UploadMeter, type UploadProgress } from "../../src/pipeline/upload_meter.ts";

function fileOf(bytes: number, at: number): FileToSend {
  return { projectSlug: "p", source: "", bytes, path: `p/${at}`, record: () => Promise.resolve() };
}

Deno.test("UploadMeter adds up what several connections have sent", () => {
  const files = [100, 300].map(fileOf);
  const told: UploadProgress[] = [];
  const meter = new UploadMeter(files, (progress) => told.push(progress));
  const [one, two] = files.map((file) => meter.file(file));

  one?.at(40);
  two?.at(60);
  one?.done();

  assertEquals(told.map(({ path, fileBytes, files, bytes }) => [path, fileBytes, files, bytes]), [
    ["p/0", [40, 100], [0, 2], [40, 400]],
    ["p/1", [60, 300], [0, 2], [100, 400]],
    ["p/0", [100, 100], [1, 2], [160, 400]],
  ]);
});

Deno.test("UploadMeter has no time left to tell while nothing was sent, as for files that are there already", () => {
  const files = [100, 300].map(fileOf);
  const told: UploadProgress[] = [];
  const meter = new UploadMeter(files, (progress) => told.push(progress));

  meter.file(files[0] ?? fileOf(0, 0)).done();

  assertEquals(told.map(({ bytes, bytesPerSecond, secondsLeft }) => [bytes, bytesPerSecond, secondsLeft]), [
    [[100, 400], 0, undefined],
  ]);
});

Deno.test("UploadMeter counts what is sent again in the rate, and not in the bytes", () => {
  const file = fileOf(1_000, 0);
  const told: UploadProgress[] = [];
  let now = 5_000;
  const measured = new UploadMeter([file], (progress) => told.push(progress), () => now).file(file);

  measured.at(800);
  measured.at(0); // it begins anew
  now += 2_000;
  measured.at(200);

  const { bytes, bytesPerSecond, secondsLeft } = told.at(-1) ?? {};
  assertEquals([bytes, bytesPerSecond, secondsLeft], [[200, 1_000], 500, 1.6]);
});

Deno.test("UploadMeter ends at all files and all bytes, in whatever order they come", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(1_000), { minLength: 1, maxLength: 20 }),
      fc.infiniteStream(fc.nat()),
      (sizes, picks) => {
        const files = sizes.map(fileOf);
        let last: UploadProgress | undefined;
        const meter = new UploadMeter(files, (progress) => {
          assert(progress.bytes[0] <= progress.bytes[1]);
          assert(progress.files[0] >= (last?.files[0] ?? 0));
          last = progress;
        });
        const open = files.map((file) => ({ file, measured: meter.file(file), sent: 0 }));
        while (open.length > 0) {
          const at = (picks.next().value ?? 0) % open.length;
          const one = open[at];
          if (one === undefined) break;
          if (one.sent < one.file.bytes) one.measured.at(one.sent = Math.min(one.file.bytes, one.sent + 100));
          else open.splice(at, 1).forEach(({ measured }) => measured.done());
        }
        const total = sizes.reduce((sum, size) => sum + size, 0);
        assertEquals([last?.files, last?.bytes], [[files.length, files.length], [total, total]]);
      },
    ),
  );
});
