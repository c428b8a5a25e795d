/** Version 00 of {@link https://www.w3.org/TR/trace-context/#traceparent-header-field-values | W3C Trace Context}; no id is all zeros. */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** Whether it joins a message to a trace: `00-<trace>-<parent>-<flags>`, of 32, 16 and 2 lower-case hexadecimal digits. */
export function isTraceparent(text: unknown): text is string {
  return typeof text === "string" && TRACEPARENT.test(text);
}

/** Passes a trace parent on. @throws {RangeError} If it is none of version 00. */
export function checkTraceparent(text: string): string {
  if (isTraceparent(text)) return text;
  throw new RangeError(
    `Cannot use the 'traceparent' as it must be '00-<32>-<16>-<2>' lower-case hexadecimal digits, no id all zeros: current value is ${text}`,
  );
}
