/**
 * Turns what Python's jsonpickle wrote into plain data: class names are dropped, `datetime.date` and `datetime.datetime` become ISO 8601 text. Tags
 * are only ever compared with known names, so a body cannot make anything run.
 *
 * The dates are base64 of `datetime`'s pickle state (CPython `datetime.__reduce__`): year big-endian in two bytes, month, day, and for a datetime hour,
 * minute, second and microseconds big-endian in three.
 *
 * @param value Parsed JSON.
 * @returns The same without jsonpickle's tags; an unknown tag leaves its object without the tag.
 */
export function plainFromJsonpickle(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plainFromJsonpickle);
  if (typeof value !== "object" || value === null) return value;
  const fields = value as Record<string, unknown>;
  const date = pythonDate(fields);
  if (date !== undefined) return date;
  return Object.fromEntries(
    Object.entries(fields)
      .filter(([name]) => !name.startsWith("py/"))
      .map(([name, field]) => [name, plainFromJsonpickle(field)]),
  );
}

function pythonDate(fields: Record<string, unknown>): string | undefined {
  const type = fields["py/object"];
  if (type !== "datetime.date" && type !== "datetime.datetime") return undefined;
  const reduced = fields["__reduce__"];
  const state = Array.isArray(reduced) && Array.isArray(reduced[1]) ? reduced[1] : [];
  const [encoded, zone] = state as unknown[];
  const bytes = typeof encoded === "string" ? base64(encoded) : undefined;
  if (bytes === undefined || bytes.length !== (type === "datetime.date" ? 4 : 10)) return undefined;
  const view = new DataView(bytes.buffer);
  const two = (at: number) => String(view.getUint8(at)).padStart(2, "0");
  const day = `${String(view.getUint16(0)).padStart(4, "0")}-${two(2)}-${two(3)}`;
  if (type === "datetime.date") return day;
  const micros = (view.getUint8(7) << 16) | view.getUint16(8);
  const offset = zone === undefined ? "" : utcOffset(zone);
  if (offset === undefined) return undefined;
  return `${day}T${two(4)}:${two(5)}:${two(6)}.${String(micros).padStart(6, "0")}${offset}`;
}

/** A `datetime.timezone` holds a `timedelta` of days, seconds and microseconds. */
function utcOffset(zone: unknown): string | undefined {
  const timezone = reduced(zone, "datetime.timezone");
  const delta = reduced(timezone?.[0], "datetime.timedelta");
  const [days, seconds] = delta ?? [];
  if (typeof days !== "number" || typeof seconds !== "number") return undefined;
  const minutes = (days * 86_400 + seconds) / 60;
  if (!Number.isInteger(minutes) || Math.abs(minutes) >= 24 * 60) return undefined;
  const two = (n: number) => String(Math.floor(n)).padStart(2, "0");
  return `${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}:${two(Math.abs(minutes) % 60)}`;
}

/** The arguments of `{"py/reduce": [{"py/type": NAME}, {"py/tuple": [...]}]}`. */
function reduced(value: unknown, name: string): unknown[] | undefined {
  const parts = property(value, "py/reduce");
  if (!Array.isArray(parts) || property(parts[0], "py/type") !== name) return undefined;
  const tuple = property(parts[1], "py/tuple");
  return Array.isArray(tuple) ? tuple : undefined;
}

function property(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function base64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    return undefined;
  }
}
