/** W3C Trace Context, section 3.2: version 00, ids that are not all zeros, flags. */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/**
 * Whether a text is a `traceparent` of W3C Trace Context (https://www.w3.org/TR/trace-context/#traceparent-header), version 00.
 *
 * @param text Any text.
 * @returns Whether it is.
 */
export function isTraceparent(text: string): boolean {
  return TRACEPARENT.test(text);
}
