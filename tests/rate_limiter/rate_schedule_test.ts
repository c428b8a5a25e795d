import { assertEquals, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { RateSchedule, RateScheduleError } from "@pixl/core/rate-limiter";

const CLINIC = "mon-fri 08:00-18:00 Europe/London = 1; otherwise 5";

/** Rates at times, as the schedule has them. */
function rates(text: string, times: readonly string[]): number[] {
  const schedule = RateSchedule.parse(text);
  return times.map((time) => schedule.rateAt(Date.parse(time)));
}

const iso = (at: number) => Number.isFinite(at) ? new Date(at).toISOString() : at;

Deno.test("RateSchedule.rateAt() goes by weekday and local time, begin included, end not", () => {
  assertEquals(
    rates(CLINIC, [
      "2026-11-25T07:59:59.999Z",
      "2026-11-25T08:00:00Z",
      "2026-11-25T17:59:59.999Z",
      "2026-11-25T18:00:00Z",
      "2026-11-28T12:00:00Z",
    ]),
    [5, 1, 1, 5, 5],
  );
});

Deno.test("RateSchedule.rateAt() follows summer time", () => {
  assertEquals(
    rates(CLINIC, ["2026-07-01T06:59:59Z", "2026-07-01T07:00:00Z", "2026-07-01T16:59:59Z", "2026-07-01T17:00:00Z"]),
    [5, 1, 1, 5],
  );
});

Deno.test("RateSchedule.rateAt(): an hour that is skipped in spring does not come, a window within it neither", () => {
  const text = "sun 01:15-01:45 Europe/London = 1; otherwise 5";
  // At 01:00 UTC the clocks go from 01:00 to 02:00.
  assertEquals(rates(text, ["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]), [5, 5, 5]);
  assertEquals(RateSchedule.parse(text).until(Date.parse("2026-03-28T12:00:00Z")), Date.parse("2026-04-05T00:15:00Z"));
});

Deno.test("RateSchedule.rateAt(): a window that begins in the skipped hour begins when the clocks have gone on", () => {
  const text = "sun 01:30-03:00 Europe/London = 1; otherwise 5";
  assertEquals(rates(text, ["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]), [5, 1, 5]);
  assertEquals(iso(RateSchedule.parse(text).since(Date.parse("2026-03-29T01:20:00Z"))), "2026-03-29T01:00:00.000Z");
});

Deno.test("RateSchedule.rateAt(): an hour that the clocks show twice in autumn counts twice", () => {
  const text = "sun 01:00-02:00 Europe/London = 1; otherwise 5";
  assertEquals(
    rates(text, ["2026-10-24T23:59:59Z", "2026-10-25T00:00:00Z", "2026-10-25T01:59:59Z", "2026-10-25T02:00:00Z"]),
    [5, 1, 1, 5],
  );
  const half = RateSchedule.parse("sun 01:30-02:00 Europe/London = 1; otherwise 5");
  assertEquals(iso(half.since(Date.parse("2026-10-25T01:15:00Z"))), "2026-10-25T01:00:00.000Z");
  assertEquals(iso(half.until(Date.parse("2026-10-25T01:15:00Z"))), "2026-10-25T01:30:00.000Z");
});

for (
  const [zone, at, rate] of [
    ["Australia/Lord_Howe", "2026-10-03T15:45:00Z", 1], // half an hour of summer time: 02:00 becomes 02:30
    ["Asia/Kathmandu", "2026-11-24T20:15:00Z", 1], // UTC+5:45
    ["America/St_Johns", "2026-11-25T05:30:00Z", 1], // UTC-3:30
    ["Pacific/Kiritimati", "2026-11-24T12:00:00Z", 1], // UTC+14: tomorrow already
    ["UTC", "2026-11-25T02:00:00Z", 1],
    ["UTC", "2026-11-25T01:59:59Z", 5],
  ] as const
) {
  Deno.test(`RateSchedule.rateAt() knows ${zone} at ${at}`, () => {
    assertEquals(rates(`sun,tue-wed 02:00-04:00 ${zone} = 1; otherwise 5`, [at]), [rate]);
  });
}

Deno.test("RateSchedule: a window past midnight belongs to the day on which it begins, over the turn of the week too", () => {
  const text = "sun 22:00-06:00 Europe/London = 9; otherwise 5";
  assertEquals(
    rates(text, ["2026-11-28T23:00:00Z", "2026-11-29T22:00:00Z", "2026-11-30T05:59:00Z", "2026-11-30T06:00:00Z"]),
    [5, 9, 9, 5],
  );
  const schedule = RateSchedule.parse(text);
  const monday = Date.parse("2026-11-30T03:00:00Z");
  assertEquals([schedule.since(monday), schedule.until(monday)].map(iso), [
    "2026-11-29T22:00:00.000Z",
    "2026-11-30T06:00:00.000Z",
  ]);
});

Deno.test("RateSchedule: a schedule without a change has always been so", () => {
  const schedule = RateSchedule.parse("UTC = 2; otherwise 5");
  assertEquals([schedule.rateAt(0), schedule.since(0), schedule.until(0)], [2, -Infinity, Infinity]);
});

Deno.test("RateSchedule: windows that meet do not overlap, and meeting is a change", () => {
  const schedule = RateSchedule.parse("00:00-12:00 UTC = 1; 12:00-24:00 = 2; otherwise 5");
  const noon = Date.parse("2026-11-25T12:00:00Z");
  assertEquals([schedule.rateAt(noon - 1), schedule.rateAt(noon), schedule.since(noon)], [1, 2, noon]);
});

for (
  const [text, part, why] of [
    ["", "''", "otherwise"],
    ["otherwise 5", "'otherwise 5'", "time zone"],
    ["mon 08:00-18:00 UTC = 1", "'mon 08:00-18:00 UTC = 1'", "otherwise"],
    ["mon-fri 08:00-25:00 UTC = 1; otherwise 5", "'25:00'", "24:00"],
    ["mon-fri 24:00-25:00 UTC = 1; otherwise 5", "'24:00'", "24:00"],
    ["mon-fri 08:60-10:00 UTC = 1; otherwise 5", "'08:60'", "24:00"],
    ["mon-fri 8:00-10:00 UTC = 1; otherwise 5", "'8:00'", "24:00"],
    ["mon-fri 08:00-10:00-11:00 UTC = 1; otherwise 5", "'08:00-10:00-11:00'", "24:00"],
    ["mon-fri 08:00-08:00 UTC = 1; otherwise 5", "'08:00'", "another time"],
    ["mon-fry 08:00-18:00 UTC = 1; otherwise 5", "'mon-fry'", "sat,sun"],
    ["mon,mon- 08:00-18:00 UTC = 1; otherwise 5", "'mon,mon-'", "sat,sun"],
    ["mon-tue-wed 08:00-18:00 UTC = 1; otherwise 5", "'mon-tue-wed'", "sat,sun"],
    ["mon tue 08:00-18:00 UTC = 1; otherwise 5", "'tue'", "commas"],
    ["mon 08:00-18:00 10:00-12:00 UTC = 1; otherwise 5", "'10:00-12:00'", "one pair"],
    ["mon 08:00-18:00 Europe/Londn = 1; otherwise 5", "'Europe/Londn'", "time zone"],
    ["mon 08:00-18:00 +01:00 = 1; otherwise 5", "'+01:00'", "time zone"],
    ["mon 08:00-10:00 UTC = 1; tue 08:00-10:00 Europe/London = 1; otherwise 5", "'Europe/London'", "the zone is 'UTC'"],
    ["mon 08:00-18:00 UTC = fast; otherwise 5", "'fast'", "rate"],
    ["mon 08:00-18:00 UTC = -1; otherwise 5", "'-1'", "rate"],
    ["mon 08:00-18:00 UTC = NaN; otherwise 5", "'NaN'", "rate"],
    ["mon 08:00-18:00 UTC =; otherwise 5", "'mon 08:00-18:00 UTC ='", "rate"],
    ["mon 08:00-18:00 UTC; otherwise 5", "'mon 08:00-18:00 UTC'", "= RATE"],
    ["mon 08:00-18:00 UTC = 1 = 2; otherwise 5", "'mon 08:00-18:00 UTC = 1 = 2'", "= RATE"],
    ["mon 08:00-18:00 UTC = 1; otherwise", "'otherwise'", "rate"],
    ["mon 08:00-18:00 UTC = 1; otherwise 1; otherwise 2", "'otherwise 2'", "once"],
    [
      "mon 08:00-10:00 UTC = 1; mon 09:00-11:00 = 2; otherwise 5",
      "'mon 09:00-11:00 = 2'",
      "overlaps 'mon 08:00-10:00 UTC = 1'",
    ],
    ["mon-wed UTC = 1; wed 09:00-11:00 = 2; otherwise 5", "'wed 09:00-11:00 = 2'", "overlaps 'mon-wed UTC = 1'"],
    ["sun 22:00-06:00 UTC = 1; mon 05:00-07:00 = 2; otherwise 5", "'mon 05:00-07:00 = 2'", "overlaps"],
  ] as const
) {
  Deno.test(`RateSchedule.parse("${text}") points at ${part}`, () => {
    const error = assertThrows(() => RateSchedule.parse(text), RateScheduleError, why);
    assertEquals(error.message.startsWith(`Cannot read ${part} of the schedule`), true, error.message);
    assertEquals([error.code, error.kind], ["rate-schedule", "configuration"]);
  });
}

const JSON_OF_CLINIC = {
  zone: "Europe/London",
  windows: [{ days: "mon-fri", from: "08:00", to: "18:00", rate: 1 }],
  otherwise: 5,
};

for (
  const [change, part, why] of [
    [null, "the whole", "Invalid type"],
    [{ zone: 5 }, "zone", "Invalid type"],
    [{ zone: "Mars/Base" }, "zone", "time zone"],
    [{ otherwise: -1 }, "otherwise", "rate"],
    [{ otherwise: "5" }, "otherwise", "rate"],
    [{ otherwise: Infinity }, "otherwise", "rate"],
    [{ windows: {} }, "windows", "Invalid type"],
    [{ windows: [] }, "windows", "at least one window"],
    [{ windows: [{ rate: 1, days: "funday" }] }, "windows[0].days", "sat,sun"],
    [{ windows: [{ rate: 1, from: "8" }] }, "windows[0].from", "24:00"],
    [{ windows: [{ rate: 1, to: "24:01" }] }, "windows[0].to", "24:00"],
    [{ windows: [{ days: "mon", rate: 1 }, { rate: 2 }] }, "windows[1]", "overlaps 'windows[0]'"],
    [{ windows: [{ from: "08:00" }] }, "windows[0].rate", "Invalid key"],
    [{ windows: [{ rate: 1, speed: 2 }] }, "windows[0].speed", "Invalid key"],
  ] as const
) {
  Deno.test(`RateSchedule.fromJson() with ${JSON.stringify(change)} points at ${part}`, () => {
    const json = change === null ? null : { ...JSON_OF_CLINIC, ...change };
    const error = assertThrows(() => RateSchedule.fromJson(json), RateScheduleError, why);
    assertEquals(error.message.includes(`'${part}'`), true, error.message);
  });
}

Deno.test("RateSchedule: zones of three letters are no days", () => {
  for (const zone of ["GMT", "CET", "UTC", "EST"]) {
    const schedule = RateSchedule.fromJson({ zone, windows: [{ rate: 1, to: "12:00" }], otherwise: 2 });
    assertEquals(String(RateSchedule.parse(String(schedule))), String(schedule));
  }
});

Deno.test("RateSchedule: text and JSON are the same, and come back as they were", () => {
  assertEquals(String(RateSchedule.fromJson(JSON_OF_CLINIC)), "mon-fri 08:00-18:00 Europe/London = 1; otherwise 5");
  assertEquals(JSON.parse(JSON.stringify(RateSchedule.parse(CLINIC))), JSON_OF_CLINIC);
});

const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/** Windows of a few hours on one day each, and what they say. */
const windows = fc.uniqueArray(
  fc.record({
    day: fc.integer({ min: 0, max: 6 }),
    quarter: fc.integer({ min: 0, max: 3 }),
    from: fc.integer({ min: 0, max: 179 }),
    length: fc.integer({ min: 1, max: 180 }),
    rate: fc.integer({ min: 0, max: 100 }),
  }),
  { minLength: 1, maxLength: 12, selector: ({ day, quarter }) => `${day} ${quarter}` },
);

Deno.test("RateSchedule: any week of windows is read, written, and answered as an independent reading of the clock has it", () => {
  const clock = (minutes: number) =>
    `${String(Math.floor(minutes / 60)).padStart(2, "0")}:${String(minutes % 60).padStart(2, "0")}`;
  const zones = fc.constantFrom("Europe/London", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC");
  const at = fc.date({ min: new Date("2020-01-01"), max: new Date("2030-01-01"), noInvalidDate: true });
  fc.assert(fc.property(windows, zones, at, (week, zone, at) => {
    const spans = week.map(({ day, quarter, from, length, rate }) => {
      const start = quarter * 360 + from;
      return { day, start, end: start + length, rate };
    });
    const text = [
      ...spans.map(({ day, start, end, rate }, i) =>
        `${DAYS[day]} ${clock(start)}-${clock(end)}${i === 0 ? ` ${zone}` : ""} = ${rate}`
      ),
      "otherwise 1000",
    ].join("; ");
    const schedule = RateSchedule.parse(text);
    const parts = new Intl.DateTimeFormat("en-GB", {
      timeZone: zone,
      weekday: "short",
      hour: "2-digit",
      minute: "2-digit",
      hourCycle: "h23",
    }).formatToParts(at);
    const part = (type: string) => parts.find((part) => part.type === type)?.value ?? "";
    const minute = Number(part("hour")) * 60 + Number(part("minute"));
    const inside = spans.find(({ day, start, end }) =>
      DAYS[day] === part("weekday").toLowerCase() && start <= minute && minute < end
    );

    assertEquals(schedule.rateAt(at.getTime()), inside?.rate ?? 1_000);
    assertEquals(String(RateSchedule.parse(String(schedule))), String(schedule));
    const [since, until] = [schedule.since(at.getTime()), schedule.until(at.getTime())];
    assertEquals([since, at.getTime(), until].toSorted((a, b) => a - b), [since, at.getTime(), until]);
    assertEquals(schedule.since(until - 1), since);
  }));
});
